"""The analyzer: opens subjects, reads evidence, judges, reports. What a program may use of it is in `tailcall_audit`."""
