"""The durable side: the embedded nats-server, its streams, and the contracts implemented on them."""
