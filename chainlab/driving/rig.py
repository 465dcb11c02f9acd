"""The sensors that a car carries, simulated or recorded: what encoders, fusions and policies are built for."""

from typing import NamedTuple

from chainlab.driving.camera import CAMERA, PinholeCamera
from chainlab.driving.lidar import LIDAR, Lidar


class Rig(NamedTuple):
    """A camera and a LiDAR.

    Attributes:
        camera: The camera.
        lidar: The LiDAR; beams without a return read its reach.
    """

    camera: PinholeCamera = CAMERA
    lidar: Lidar = LIDAR


RIG = Rig()
"""The rig of the simulated world."""
