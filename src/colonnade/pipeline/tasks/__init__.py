"""What each task does before and after the engine; one file a task."""
