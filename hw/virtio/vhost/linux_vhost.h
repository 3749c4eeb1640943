// SPDX-License-Identifier: Apache-2.0
// linux/vhost.h, which brings rings of the kernel's own that no C++ compiler takes: without these.
#pragma once

#define VIRTIO_RING_NO_LEGACY
#include <linux/vhost.h>
#undef VIRTIO_RING_NO_LEGACY
