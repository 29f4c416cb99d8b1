"""The ground floor: files, triplets, the design, hubs. Everything may import it; it imports nothing of the kit."""
