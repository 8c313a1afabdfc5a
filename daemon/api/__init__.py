"""HTTP: health, readiness and metrics. Importing it loads neither TensorFlow nor psycopg2."""
