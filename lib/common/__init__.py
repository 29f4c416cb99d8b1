"""The ground floor: files, texts, triplets, the design, and hubs. Everything may import it; it imports nothing of the kit."""
