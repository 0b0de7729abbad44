"""Networks: the static network, the dynamic cells, and the video network that they form together."""
