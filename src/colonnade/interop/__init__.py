"""Front ends of other frameworks, one file each."""
