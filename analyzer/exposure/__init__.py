"""What a set of BPF programs does of what a defect needs, and of what a fix refuses. The conditions are in the catalogue;
`facts/` has what they name.
"""
