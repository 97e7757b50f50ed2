"""What a device tells about itself while it is measured: one small reader a sensor, standard library only.

A reader takes the root folder of the device's file system (`/`, or a recorded tree in tests), or the text
that one of the device's own programs printed. What cannot be read is None, and no reader raises for what a
device says or does not say. The readers travel to the device with the worker.
"""
