"""How far a run is: counts from the actors, their collection, the terminal display and Prometheus metrics."""
