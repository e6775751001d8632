"""Where compute meets disk: one function per stage."""
