/*
 * Memory of tensors, as DLPack describes it.
 *
 * Only the start of the standard's DLTensor and the layout of its data type are needed; they have not changed since its
 * first version. The capsule stays its owner: whoever keeps it keeps the memory.
 */
#include <Python.h>

#include "bulk.h"

struct tensor {
	void *data;
	int32_t device_type;
	int32_t device_id;
	int32_t ndim;
	uint8_t code;
	uint8_t bits;
	uint16_t lanes;
	int64_t *shape;
	int64_t *strides;	/* in items; NULL: contiguous */
	uint64_t byte_offset;
};

const void *uring_bulk_tensor(uintptr_t capsule)
{
	PyObject *object = (PyObject *) capsule;

	if (!PyCapsule_IsValid(object, "dltensor"))
		return NULL;
	return PyCapsule_GetPointer(object, "dltensor");
}

void *uring_bulk_tensor_data(const void *description)
{
	const struct tensor *tensor = description;

	return (char *) tensor->data + tensor->byte_offset;
}

int64_t uring_bulk_tensor_size(const void *description)
{
	const struct tensor *tensor = description;
	int64_t items = 1;

	for (int32_t at = tensor->ndim; at--;) {
		if (tensor->strides && tensor->shape[at] > 1 && tensor->strides[at] != items)
			return -1;
		items *= tensor->shape[at];
	}
	return items * (((int64_t) tensor->bits * tensor->lanes + 7) / 8);
}
