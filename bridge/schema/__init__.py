"""What is written on the bus: events, orders, results, and the names they are filed under."""
