"""One reader per published database: each recognises its layout in a folder, and yields its samples one by one."""
