"""The measurement harness: worker, protocol, sensors, results and the regression gate."""
