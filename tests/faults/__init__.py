"""What breaks from outside: processes that are killed, brokers and databases that go away."""
