"""All that travels to a device: workers, scenarios, sensors. Standard library, numpy and the runtime."""
