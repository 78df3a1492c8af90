"""What names a kernel: release and build strings, configurations, packages, and the forms in which distributions write
them.
"""
