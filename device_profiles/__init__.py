"""What a device says: classes with canonical metrics, and one YAML file for each real device."""
