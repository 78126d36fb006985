"""Public helpers for tests of applications that embed trioproxy."""
