"""At the site: polls the devices, keeps what they say, and forwards it until the cloud has it."""
