"""Networks: the static segmenter and the dynamic cells."""
