"""Options that users write: names, checks, scopes and YAML files."""
