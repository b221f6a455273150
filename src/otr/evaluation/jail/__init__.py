"""What runs on the other side of `sandbox.py`: a launcher, and the guards around the program.

Only the standard library is used, and only relative imports: the launcher is started with
`python -S` from this folder's parent, without the rest of otr.
"""
