"""What is told about exchanges."""
