"""The contract: values, errors, hooks, and the classes that backends and extensions derive from. Without IO.

All of it is in `lollms_core` too, under the same names.
"""
