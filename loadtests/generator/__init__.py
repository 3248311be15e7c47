"""The load generator: open arrivals of customers on top of Locust, and books of what became of each of them."""
