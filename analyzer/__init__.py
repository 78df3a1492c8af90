"""The analyzer: opens subjects, reads evidence, decides verdicts, writes reports. The package `tailcall_audit` has the
parts that programs may import.
"""
