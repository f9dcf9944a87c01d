"""The contract: values, errors, hooks, and the classes that backends and extensions derive from. Without IO.

What most programs need of it is in `lollms_core`, under the same names.
"""
