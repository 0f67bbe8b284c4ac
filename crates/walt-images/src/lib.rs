//! OCI images on podman: catalogue, mounts, and the walt layer every image gets before it is served.
