"""The optimizer: rules over logical plans, the order they run in, and the driver that checks each of them."""
