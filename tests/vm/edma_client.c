// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * A client of Linux' dw-edma through the dmaengine API, in the lab's guest kernel: dmatest cannot be one, since the
 * driver offers no memory-to-memory copies, only transfers between a device's memory and the host's.
 *
 * Write to /sys/module/edma_client/parameters/run: FUNCTION WAY CHANNEL KIND COUNT SIZE
 *   FUNCTION its address, as 0000:00:14.0
 *   WAY      write (device to host) or read, as the channels are called
 *   CHANNEL  its number in that direction
 *   KIND     sg (a list of COUNT pieces of SIZE bytes), cyclic (the same piece COUNT times), terminate (a list that is
 *            given up while it runs, then one of a single piece)
 * Then read it: "ok" or what went wrong.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/dmaengine.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/random.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#define WINDOW_SIZE 0x800 /* where the demo endpoint has memory for data: BAR 2, as in dw-edma-pcie.c */
#define WINDOW(write, number) (((write) ? 0x800000 : 0xa00000) + (number) * 0x100000)
#define WRITE_CHANNELS 2
#define STRIDE 16 /* between the pieces in the host's memory, so that they are no single one */
#define PATIENCE (60 * HZ)

static char result[96] = "nothing was run";
static DEFINE_MUTEX(running);

struct job {
	char function[16];
	bool write;
	unsigned int number, count, size;
	struct dma_chan *channel;
	struct device *device;
	void __iomem *window;
	dma_addr_t inside;
	u8 *host, *data;
	dma_addr_t outside;
	struct completion done;
};

static bool is_ours(struct dma_chan *channel, void *data)
{
	struct job *job = data;
	struct device *device = channel->device->dev;

	return device->driver && !strcmp(device->driver->name, "dw-edma-pcie") &&
	       !strcmp(dev_name(device), job->function) &&
	       channel->chan_id == job->number + (job->write ? 0 : WRITE_CHANNELS);
}

static void finished(void *data)
{
	complete(&((struct job *)data)->done);
}

static struct dma_async_tx_descriptor *prepare(struct job *job, bool cyclic, unsigned int count)
{
	enum dma_transfer_direction way = job->write ? DMA_DEV_TO_MEM : DMA_MEM_TO_DEV;
	struct dma_async_tx_descriptor *descriptor;
	struct sg_table table;
	struct scatterlist *piece;
	unsigned int i;

	if (cyclic) /* dw-edma takes the length of a piece and how many there are */
		return dmaengine_prep_dma_cyclic(job->channel, job->outside, job->size, count, way, DMA_PREP_INTERRUPT);
	if (sg_alloc_table(&table, count, GFP_KERNEL))
		return NULL;
	for_each_sg(table.sgl, piece, count, i) {
		sg_dma_address(piece) = job->outside + i * STRIDE;
		sg_dma_len(piece) = job->size;
	}
	descriptor = dmaengine_prep_slave_sg(job->channel, table.sgl, count, way, DMA_PREP_INTERRUPT);
	sg_free_table(&table);
	return descriptor;
}

static const char *start(struct job *job, bool cyclic, unsigned int count)
{
	struct dma_slave_config config = {
		.direction = job->write ? DMA_DEV_TO_MEM : DMA_MEM_TO_DEV,
		.src_addr = job->inside,
		.dst_addr = job->inside,
		.src_addr_width = DMA_SLAVE_BUSWIDTH_4_BYTES,
		.dst_addr_width = DMA_SLAVE_BUSWIDTH_4_BYTES,
	};
	struct dma_async_tx_descriptor *descriptor;

	if (dmaengine_slave_config(job->channel, &config))
		return "the channel takes no configuration";
	descriptor = prepare(job, cyclic, count);
	if (!descriptor)
		return "no descriptor was prepared";
	reinit_completion(&job->done);
	descriptor->callback = finished;
	descriptor->callback_param = job;
	if (dma_submit_error(dmaengine_submit(descriptor)))
		return "the descriptor was not submitted";
	dma_async_issue_pending(job->channel);
	return NULL;
}

/* Whether both sides of every piece are the same now, and what lies between the pieces is untouched. */
static const char *compare(struct job *job, bool cyclic, unsigned int count)
{
	unsigned int i, k;

	memcpy_fromio(job->data, job->window, WINDOW_SIZE);
	for (i = 0; i < count; i++) {
		const u8 *outside = job->host + (cyclic ? 0 : i * STRIDE), *inside = job->data + (cyclic ? 0 : i * job->size);

		if (memcmp(outside, inside, job->size))
			return "the data differ";
		for (k = job->size; job->write && !cyclic && k < STRIDE; k++)
			if (outside[k] != 0xee)
				return "bytes between the pieces were written";
	}
	return NULL;
}

static const char *run_job(struct job *job, const char *kind)
{
	bool cyclic = !strcmp(kind, "cyclic"), terminate = !strcmp(kind, "terminate");
	unsigned int count = job->count;
	const char *error;

	get_random_bytes(job->data, WINDOW_SIZE);
	memcpy_toio(job->window, job->data, WINDOW_SIZE);
	if (job->write)
		memset(job->host, 0xee, job->count * STRIDE);
	else
		get_random_bytes(job->host, job->count * STRIDE);
	error = start(job, cyclic, count);
	if (error)
		return error;
	if (terminate) {
		/* The engine ends what it has, then dw-edma drops the list: nobody is called back. */
		if (dmaengine_terminate_async(job->channel))
			return "it could not be terminated";
		if (wait_for_completion_timeout(&job->done, 3 * HZ))
			return "it was terminated and completed all the same";
		count = 1;
		error = start(job, false, count);
		if (error)
			return error;
	}
	if (!wait_for_completion_timeout(&job->done, PATIENCE))
		return "nothing came";
	return compare(job, cyclic, count);
}

static const char *set_up(struct job *job, const char *kind)
{
	size_t size = max(job->count * STRIDE, WINDOW_SIZE);
	const char *error = "no memory";
	struct pci_dev *function;
	dma_cap_mask_t wanted;

	if (!job->count || !job->size || job->size > STRIDE || (strcmp(kind, "cyclic") && job->count * job->size > WINDOW_SIZE))
		return "it does not fit";
	dma_cap_zero(wanted);
	dma_cap_set(DMA_SLAVE, wanted);
	job->channel = dma_request_channel(wanted, is_ours, job);
	if (!job->channel)
		return "there is no such channel";
	job->device = job->channel->device->dev;
	function = to_pci_dev(job->device);
	job->inside = pci_bus_address(function, 2) + WINDOW(job->write, job->number);
	job->window = ioremap(pci_resource_start(function, 2) + WINDOW(job->write, job->number), WINDOW_SIZE);
	job->data = kmalloc(WINDOW_SIZE, GFP_KERNEL);
	job->host = dma_alloc_coherent(job->device, size, &job->outside, GFP_KERNEL);
	init_completion(&job->done);
	if (job->window && job->data && job->host)
		error = run_job(job, kind);
	dmaengine_terminate_sync(job->channel);
	dma_release_channel(job->channel);
	if (job->host)
		dma_free_coherent(job->device, size, job->host, job->outside);
	kfree(job->data);
	if (job->window)
		iounmap(job->window);
	return error;
}

static int run_set(const char *text, const struct kernel_param *param)
{
	struct job job = {};
	const char *error;
	char way[8], kind[16];

	if (sscanf(text, "%15s %7s %u %15s %u %u", job.function, way, &job.number, kind, &job.count, &job.size) != 6)
		return -EINVAL;
	job.write = !strcmp(way, "write");
	mutex_lock(&running);
	error = set_up(&job, kind);
	strscpy(result, error ?: "ok", sizeof(result));
	mutex_unlock(&running);
	return 0;
}

static int run_get(char *text, const struct kernel_param *param)
{
	return sysfs_emit(text, "%s\n", result);
}

static const struct kernel_param_ops run_ops = { .set = run_set, .get = run_get };
module_param_cb(run, &run_ops, NULL, 0600);
MODULE_DESCRIPTION("A client of dw-edma for tests");
MODULE_LICENSE("GPL");
