"""Scripts as users write them, which tests run in processes of their own."""
