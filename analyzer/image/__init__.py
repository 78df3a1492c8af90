"""Reading kernel images: unpacking them, and what is in the kernel they hold. Nothing of an image is run."""
