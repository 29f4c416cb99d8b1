"""06: what every subset would score on every set, predicted from few trainings or none, and how good that is."""
