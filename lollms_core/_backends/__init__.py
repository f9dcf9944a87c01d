"""The formats that ship inside the core: `lollms` (the default) and `echo`."""
