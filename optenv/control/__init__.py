"""The control loop both hosts share: sketch, features, knobs, controllers and the policy file."""
