"""What users see: one file a format. Text from outside (subjects, paths, release strings) is cleaned of control characters."""
