#!/bin/sh
# Tells Spark which GPUs a container has, as the script of its images does with the tool of the driver.
printf '{"name": "gpu", "addresses": ["%s"]}\n' "$(printf %s "$NVIDIA_VISIBLE_DEVICES" | sed 's/,/", "/g')"
