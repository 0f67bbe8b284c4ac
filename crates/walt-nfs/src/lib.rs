//! NFSv3, mount and portmap in user space: immutable image roots and the nodes' persistent directories.
