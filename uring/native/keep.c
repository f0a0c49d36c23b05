/* Python objects that outlive the interpreter's own end. */
#include <Python.h>

#include "uring.h"

void uring_keep(uintptr_t object)
{
	Py_IncRef((PyObject *) object);
}
