/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_UAPI_H
#define VFIO_IMS_UAPI_H

#include <stdint.h>

/* The kernel's VFIO and iommufd requests, as far as they are used here: our own declarations of its binary interface
 * (include/uapi/linux/vfio.h and iommufd.h), so that the build needs no kernel headers, of whatever age. */

/* All are _IO(';', n): ';' << 8 | n, with n from 100 for VFIO and from 0x80 for iommufd. */
enum ioc_request {
    IOC_GET_API_VERSION = 0x3b64,
    IOC_CHECK_EXTENSION = 0x3b65,
    IOC_SET_IOMMU = 0x3b66,
    IOC_GROUP_GET_STATUS = 0x3b67,
    IOC_GROUP_SET_CONTAINER = 0x3b68,
    IOC_GROUP_UNSET_CONTAINER = 0x3b69,
    IOC_GROUP_GET_DEVICE_FD = 0x3b6a,
    IOC_DEVICE_GET_INFO = 0x3b6b,
    IOC_DEVICE_GET_REGION_INFO = 0x3b6c,
    IOC_DEVICE_GET_IRQ_INFO = 0x3b6d,
    IOC_DEVICE_SET_IRQS = 0x3b6e,
    IOC_DEVICE_RESET = 0x3b6f,
    IOC_DEVICE_GET_PCI_HOT_RESET_INFO = 0x3b70, /* on a device; on a container the same numbers mean what follows */
    IOC_DEVICE_PCI_HOT_RESET = 0x3b71,
    IOC_IOMMU_GET_INFO = 0x3b70,
    IOC_IOMMU_MAP_DMA = 0x3b71,
    IOC_IOMMU_UNMAP_DMA = 0x3b72,
    IOC_DEVICE_FEATURE = 0x3b75,
    IOC_DEVICE_BIND_IOMMUFD = 0x3b76,
    IOC_DEVICE_ATTACH_PT = 0x3b77,
    IOC_DEVICE_DETACH_PT = 0x3b78,
    IOC_IOMMUFD_DESTROY = 0x3b80,
    IOC_IOAS_ALLOC = 0x3b81,
    IOC_IOAS_RANGES = 0x3b84,
    IOC_IOAS_MAP = 0x3b85,
    IOC_IOAS_UNMAP = 0x3b86,
    IOC_VFIO_IOAS = 0x3b88,
    IOC_HWPT_ALLOC = 0x3b89,
    IOC_GET_HW_INFO = 0x3b8a,
    IOC_IOAS_MAP_FILE = 0x3b8f,
    IOC_IOAS_NOIOMMU_GET_PA = 0x3b95
};

enum ioc_values {
    IOC_TYPE1V2 = 3, /* VFIO_TYPE1v2_IOMMU, for CHECK_EXTENSION and SET_IOMMU */
    IOC_NOIOMMU = 8, /* VFIO_NOIOMMU_IOMMU */
    IOC_UNMAP_ALL = 9, /* VFIO_UNMAP_ALL, for CHECK_EXTENSION */
    IOC_GROUP_VIABLE = 1,
    IOC_GROUP_CONTAINER_SET = 2,
    IOC_DEVICE_CAPS = 1 << 7,
    IOC_REGION_MMAP = 1 << 2,
    IOC_REGION_CAPS = 1 << 3,
    IOC_CAP_SPARSE_MMAP = 1, /* of a region */
    IOC_CAP_MSIX_MAPPABLE = 3,
    IOC_IOMMU_PGSIZES = 1 << 0,
    IOC_IOMMU_CAPS = 1 << 1,
    IOC_CAP_IOVA_RANGE = 1, /* of a type1 container */
    IOC_CAP_DMA_AVAIL = 3,
    IOC_DMA_READ = 1 << 0,
    IOC_DMA_WRITE = 1 << 1,
    IOC_DMA_UNMAP_ALL = 1 << 1,
    IOC_FEATURE_DMA_BUF = 11,
    IOC_FEATURE_GET = 1 << 16,
    IOC_FEATURE_SET = 1 << 17,
    IOC_FEATURE_PROBE = 1 << 18,
    IOC_FEATURE_LOW_POWER_ENTRY = 3,
    IOC_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP = 4,
    IOC_FEATURE_LOW_POWER_EXIT = 5,
    IOC_HOT_RESET_DEV_ID = 1 << 0,
    IOC_ATTACH_PASID = 1 << 0,
    IOC_IOAS_FIXED = 1 << 0,
    IOC_IOAS_WRITABLE = 1 << 1,
    IOC_IOAS_READABLE = 1 << 2,
    IOC_HWPT_PASID = 1 << 3
};

/* Where a chain of capabilities hangs off an info structure: offsets from the structure's start, 0 ends it. */
struct ioc_cap_header {
    uint16_t id;
    uint16_t version;
    uint32_t next;
};

struct ioc_group_status {
    uint32_t argsz;
    uint32_t flags;
};

struct ioc_device_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t num_regions;
    uint32_t num_irqs;
    uint32_t cap_offset;
    uint32_t pad;
};

struct ioc_region_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t cap_offset;
    uint64_t size;
    uint64_t offset;
};

struct ioc_area {
    uint64_t offset;
    uint64_t size;
};

struct ioc_cap_sparse_mmap {
    struct ioc_cap_header header;
    uint32_t nr_areas;
    uint32_t reserved;
};

struct ioc_irq_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
};

/* Followed by `count` bytes or int32 eventfds, by the flags. */
struct ioc_irq_set {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t start;
    uint32_t count;
};

/* A function that a hot reset resets, too. By a device's own node `group_id` is the id of the device instead. */
struct ioc_dependent_device {
    uint32_t group_id;
    uint16_t segment;
    uint8_t bus;
    uint8_t devfn;
};

/* Followed by `count` dependent devices. */
struct ioc_hot_reset_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t count;
};

/* Followed by the descriptors of `count` groups; none for a device opened by its own node. */
struct ioc_hot_reset {
    uint32_t argsz;
    uint32_t flags;
    uint32_t count;
};

struct ioc_device_feature {
    uint32_t argsz;
    uint32_t flags;
};

/* The data of IOC_FEATURE_DMA_BUF, followed by ranges. The answer is the call's result, a descriptor. */
struct ioc_feature_dma_buf {
    uint32_t region_index;
    uint32_t open_flags;
    uint32_t flags;
    uint32_t nr_ranges;
};

struct ioc_dma_range {
    uint64_t offset;
    uint64_t length;
};

struct ioc_iommu_info {
    uint32_t argsz;
    uint32_t flags;
    uint64_t iova_pgsizes;
    uint32_t cap_offset;
    uint32_t pad;
};

struct ioc_iova_range {
    uint64_t start;
    uint64_t last;
};

struct ioc_cap_iova_range {
    struct ioc_cap_header header;
    uint32_t nr_iovas;
    uint32_t reserved;
};

struct ioc_cap_dma_avail {
    struct ioc_cap_header header;
    uint32_t avail;
};

struct ioc_dma_map {
    uint32_t argsz;
    uint32_t flags;
    uint64_t vaddr;
    uint64_t iova;
    uint64_t size;
};

struct ioc_dma_unmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t iova;
    uint64_t size;
};

struct ioc_bind_iommufd {
    uint32_t argsz;
    uint32_t flags;
    int32_t iommufd;
    uint32_t out_devid;
};

struct ioc_attach_pt {
    uint32_t argsz;
    uint32_t flags;
    uint32_t pt_id;
    uint32_t pasid;
};

struct ioc_detach_pt {
    uint32_t argsz;
    uint32_t flags;
    uint32_t pasid;
};

struct ioc_iommufd_destroy {
    uint32_t size;
    uint32_t id;
};

struct ioc_ioas_alloc {
    uint32_t size;
    uint32_t flags;
    uint32_t out_ioas_id;
};

struct ioc_ioas_ranges {
    uint32_t size;
    uint32_t ioas_id;
    uint32_t num_iovas;
    uint32_t reserved;
    uint64_t allowed_iovas;
    uint64_t out_iova_alignment;
};

struct ioc_ioas_map {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    uint32_t reserved;
    uint64_t user_va;
    uint64_t length;
    uint64_t iova;
};

struct ioc_ioas_map_file {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    int32_t fd;
    uint64_t start;
    uint64_t length;
    uint64_t iova;
};

/* The address space that VFIO's container requests work on, when they are made on an iommufd. op 0: get. */
struct ioc_vfio_ioas {
    uint32_t size;
    uint32_t ioas_id;
    uint16_t op;
    uint16_t reserved;
};

struct ioc_ioas_noiommu_get_pa {
    uint32_t size;
    uint32_t flags;
    uint32_t ioas_id;
    uint32_t reserved;
    uint64_t iova;
    uint64_t length;
    uint64_t out_phys;
};

struct ioc_ioas_unmap {
    uint32_t size;
    uint32_t ioas_id;
    uint64_t iova;
    uint64_t length;
};

struct ioc_hwpt_alloc {
    uint32_t size;
    uint32_t flags;
    uint32_t dev_id;
    uint32_t pt_id;
    uint32_t out_hwpt_id;
    uint32_t reserved;
    uint32_t data_type;
    uint32_t data_len;
    uint64_t data_uptr;
};

struct ioc_hw_info {
    uint32_t size;
    uint32_t flags;
    uint32_t dev_id;
    uint32_t data_len;
    uint64_t data_uptr;
    uint32_t out_data_type;
    uint8_t out_max_pasid_log2;
    uint8_t reserved[3];
    uint64_t out_capabilities;
};

/* The kernel's answer, or -errno. */
int ioc_call(int fd, unsigned long request, void *argument);
int ioc_call_value(int fd, unsigned long request, unsigned long argument);

#endif
