#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef _WIN32
#include <dlfcn.h>

char *ep_open(const char *path, void **library) {
	// NODELETE: execution providers start threads and register destructors
	// that must not outlive the code they run.
	*library = dlopen(path, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
	return *library ? NULL : strdup(dlerror());
}

void *ep_symbol(void *library, const char *name) { return dlsym(library, name); }
#endif

// Positions in OrtApi. The table only ever grows; shim_test.go checks them
// against the header of the Go binding.
enum {
	CREATE_ENV = 3,
	RUN = 9,
	GET_ERROR_MESSAGE = 2,
	SESSION_GET_COUNT = 30,     // input, output, overridable: consecutive
	SESSION_GET_TYPE_INFO = 33, // likewise
	SESSION_GET_NAME = 36,      // likewise
	CREATE_RUN_OPTIONS = 39,
	RUN_OPTIONS_SET_TERMINATE = 46,
	CREATE_TENSOR_WITH_DATA = 49,
	GET_TENSOR_MUTABLE_DATA = 51,
	CAST_TYPE_INFO_TO_TENSOR_INFO = 55,
	GET_ONNX_TYPE_FROM_TYPE_INFO = 56,
	GET_TENSOR_ELEMENT_TYPE = 60,
	GET_DIMENSIONS_COUNT = 61,
	GET_DIMENSIONS = 62,
	GET_TENSOR_TYPE_AND_SHAPE = 65,
	CREATE_MEMORY_INFO = 68,
	CREATE_CPU_MEMORY_INFO = 69,
	ALLOCATOR_FREE = 76,
	GET_ALLOCATOR_WITH_DEFAULT_OPTIONS = 78,
	RELEASE_STATUS = 93,
	RELEASE_MEMORY_INFO = 94,
	RELEASE_VALUE = 96,
	RELEASE_RUN_OPTIONS = 97,
	RELEASE_TYPE_INFO = 98,
	RELEASE_TENSOR_TYPE_AND_SHAPE_INFO = 99,
	GET_AVAILABLE_PROVIDERS = 125,
	RELEASE_AVAILABLE_PROVIDERS = 126,
	CREATE_ALLOCATOR = 131,
	RELEASE_ALLOCATOR = 132,
	RUN_WITH_BINDING = 133,
	CREATE_IO_BINDING = 134,
	RELEASE_IO_BINDING = 135,
	BIND_INPUT = 136,
	BIND_OUTPUT = 137,
	BIND_OUTPUT_TO_DEVICE = 138,
	GET_BOUND_OUTPUT_VALUES = 140,
	GET_TENSOR_MEMORY_INFO = 194,
	SYNCHRONIZE_BOUND_INPUTS = 202,
	MEMORY_INFO_GET_DEVICE_TYPE = 225,
	GET_BUILD_INFO_STRING = 254,
	SET_DETERMINISTIC_COMPUTE = 273,
	SESSION_OPTIONS_SET_LOAD_CANCELLATION_FLAG = 293,
	GET_KEY_VALUE = 297,
	RELEASE_KEY_VALUE_PAIRS = 300,
	ALLOCATOR_GET_STATS = 319,
	SESSION_GET_MEMORY_INFO_FOR_OUTPUTS = 381,
	TENSOR_TYPE_AND_SHAPE_HAS_SHAPE = 390,
	SESSION_GET_EP_GRAPH_ASSIGNMENT_INFO = 407,
	EP_ASSIGNED_SUBGRAPH_GET_EP_NAME = 408,
	EP_ASSIGNED_SUBGRAPH_GET_NODES = 409,
	EP_ASSIGNED_NODE_GET_NAME = 410,
	EP_ASSIGNED_NODE_GET_OPERATOR_TYPE = 412,
};

#if defined(_WIN32) && defined(_M_IX86)
#error "32-bit Windows is not supported"
#endif

#define FN(i, ...) ((void *(*)(__VA_ARGS__))((void *const *)api)[i])
#define RELEASE(i, p) ((void (*)(void *))((void *const *)api)[i])(p)

// message turns a status into a message and releases it.
static char *message(const void *api, void *status) {
	if (!status) return NULL;
	const char *text = ((const char *(*)(void *))((void *const *)api)[GET_ERROR_MESSAGE])(status);
	char *copy = strdup(text && *text ? text : "error without a message");
	RELEASE(RELEASE_STATUS, status);
	return copy;
}

typedef struct {
	const void *(*get_api)(uint32_t);
	const char *(*get_version)(void);
} api_base;

static const api_base *base(void *get_api_base) {
	return ((const api_base *(*)(void))get_api_base)();
}

const char *ep_version(void *get_api_base) { return base(get_api_base)->get_version(); }

const void *ep_table(void *get_api_base, uint32_t version) {
	return base(get_api_base)->get_api(version);
}

char *ep_hold(const void *api) {
	void *env;
	return message(api, FN(CREATE_ENV, int, const char *, void **)(4, "editpipe", &env)); // 4: fatal only
}

const char *ep_build_info(const void *api) {
	return ((const char *(*)(void))((void *const *)api)[GET_BUILD_INFO_STRING])();
}

char *ep_compiled(const void *api, char ***names, int *n) {
	return message(api, FN(GET_AVAILABLE_PROVIDERS, char ***, int *)(names, n));
}

void ep_release_compiled(const void *api, char **names, int n) {
	free(message(api, FN(RELEASE_AVAILABLE_PROVIDERS, char **, int)(names, n)));
}

char *ep_cpu_memory(const void *api, void **info) {
	// 0: device allocator (the buffers are ours), default memory.
	return message(api, FN(CREATE_CPU_MEMORY_INFO, int, int, void **)(0, 0, info));
}

void ep_release_memory(const void *api, void *info) { RELEASE(RELEASE_MEMORY_INFO, info); }

char *ep_deterministic(const void *api, void *options) {
	return message(api, FN(SET_DETERMINISTIC_COMPUTE, void *, _Bool)(options, 1));
}

void ep_cancel_load(const void *api, void *options) {
	free(message(api, FN(SESSION_OPTIONS_SET_LOAD_CANCELLATION_FLAG, void *, _Bool)(options, 1)));
}

char *ep_count(const void *api, void *session, int which, size_t *n) {
	return message(api, FN(SESSION_GET_COUNT + which, void *, size_t *)(session, n));
}

// fill reads element type and dimensions of a tensor description.
static char *fill(const void *api, const void *shape, ep_info *out) {
	char *err = message(api, FN(GET_TENSOR_ELEMENT_TYPE, const void *, int *)(shape, &out->type));
	if (err) return err;
	out->has_rank = ((_Bool(*)(const void *))((void *const *)api)[TENSOR_TYPE_AND_SHAPE_HAS_SHAPE])(shape);
	err = message(api, FN(GET_DIMENSIONS_COUNT, const void *, size_t *)(shape, &out->rank));
	if (err) return err;
	if (out->rank > sizeof out->dims / sizeof *out->dims) return strdup("more than 16 dimensions");
	return message(api, FN(GET_DIMENSIONS, const void *, int64_t *, size_t)(shape, out->dims, out->rank));
}

char *ep_describe(const void *api, void *session, int which, size_t i, ep_info *out) {
	memset(out, 0, sizeof *out);
	void *allocator;
	char *err = message(api, FN(GET_ALLOCATOR_WITH_DEFAULT_OPTIONS, void **)(&allocator));
	if (err) return err;
	char *name;
	err = message(api, FN(SESSION_GET_NAME + which, void *, size_t, void *, char **)(session, i, allocator, &name));
	if (err) return err;
	out->name = strdup(name);
	free(message(api, FN(ALLOCATOR_FREE, void *, void *)(allocator, name)));

	void *info;
	err = message(api, FN(SESSION_GET_TYPE_INFO + which, void *, size_t, void **)(session, i, &info));
	if (err) return err;
	const void *shape = NULL; // owned by info
	err = message(api, FN(GET_ONNX_TYPE_FROM_TYPE_INFO, void *, int *)(info, &out->kind));
	if (!err) err = message(api, FN(CAST_TYPE_INFO_TO_TENSOR_INFO, void *, const void **)(info, &shape));
	if (!err && shape) err = fill(api, shape, out);
	RELEASE(RELEASE_TYPE_INFO, info);
	return err;
}

char *ep_nodes(const void *api, void *session, ep_node **nodes, size_t *n) {
	void *const *parts;
	size_t n_parts;
	*nodes = NULL;
	*n = 0;
	char *err = message(api, FN(SESSION_GET_EP_GRAPH_ASSIGNMENT_INFO, void *, void *const **, size_t *)(session, &parts, &n_parts));
	for (size_t p = 0; !err && p < n_parts; p++) {
		const char *provider;
		void *const *members;
		size_t n_members = 0;
		err = message(api, FN(EP_ASSIGNED_SUBGRAPH_GET_EP_NAME, void *, const char **)(parts[p], &provider));
		if (!err) err = message(api, FN(EP_ASSIGNED_SUBGRAPH_GET_NODES, void *, void *const **, size_t *)(parts[p], &members, &n_members));
		if (err || !n_members) continue;
		ep_node *grown = realloc(*nodes, (*n + n_members) * sizeof **nodes);
		if (!grown) return strdup("out of memory");
		*nodes = grown;
		for (size_t m = 0; !err && m < n_members; m++) {
			const char *node = "", *op = "";
			err = message(api, FN(EP_ASSIGNED_NODE_GET_NAME, void *, const char **)(members[m], &node));
			if (!err) err = message(api, FN(EP_ASSIGNED_NODE_GET_OPERATOR_TYPE, void *, const char **)(members[m], &op));
			if (!err) (*nodes)[(*n)++] = (ep_node){strdup(provider), strdup(node), strdup(op)};
		}
	}
	return err;
}

void ep_release_nodes(ep_node *nodes, size_t n) {
	for (size_t i = 0; i < n; i++) {
		free(nodes[i].provider);
		free(nodes[i].node);
		free(nodes[i].op);
	}
	free(nodes);
}

// ep_peak gives the allocator's high-water mark as text, or NULL where the
// allocator keeps no statistics.
char *ep_peak(const void *api, void *session, const char *memory, int device, char **peak) {
	*peak = NULL;
	void *info, *allocator, *pairs;
	char *err = message(api, FN(CREATE_MEMORY_INFO, const char *, int, int, int, void **)(memory, 1, device, 0, &info));
	if (err) return err;
	err = message(api, FN(CREATE_ALLOCATOR, void *, void *, void **)(session, info, &allocator));
	RELEASE(RELEASE_MEMORY_INFO, info);
	if (err) return err;
	err = message(api, FN(ALLOCATOR_GET_STATS, void *, void **)(allocator, &pairs));
	if (!err) {
		const char *value = ((const char *(*)(void *, const char *))((void *const *)api)[GET_KEY_VALUE])(pairs, "MaxInUse");
		if (value) *peak = strdup(value);
		RELEASE(RELEASE_KEY_VALUE_PAIRS, pairs);
	}
	RELEASE(RELEASE_ALLOCATOR, allocator);
	return err;
}

char *ep_run_options(const void *api, void **options) {
	return message(api, FN(CREATE_RUN_OPTIONS, void **)(options));
}

void ep_terminate(const void *api, void *options) {
	free(message(api, FN(RUN_OPTIONS_SET_TERMINATE, void *)(options)));
}

void ep_release_run_options(const void *api, void *options) { RELEASE(RELEASE_RUN_OPTIONS, options); }

// wrap makes an OrtValue over the caller's bytes.
static char *wrap(const void *api, void *memory, ep_tensor *t, void **value) {
	return message(api, FN(CREATE_TENSOR_WITH_DATA, void *, void *, size_t, const int64_t *, size_t, int, void **)(
		memory, t->data, t->bytes, t->dims, t->rank, t->type, value));
}

// bound runs with outputs that stay where they are computed. values holds the
// inputs and the outputs written in place, and takes all outputs.
static char *bound(const void *api, void *session, void *options, void *memory,
	size_t n_in, const char **in_names, size_t n_out, const char **out_names, ep_tensor *out, void **values) {
	void *allocator, *binding;
	char *err = message(api, FN(GET_ALLOCATOR_WITH_DEFAULT_OPTIONS, void **)(&allocator));
	if (!err) err = message(api, FN(CREATE_IO_BINDING, void *, void **)(session, &binding));
	if (err) return err;
	for (size_t i = 0; !err && i < n_in; i++)
		err = message(api, FN(BIND_INPUT, void *, const char *, void *)(binding, in_names[i], values[i]));
	for (size_t i = 0; !err && i < n_out; i++)
		err = out[i].allocate
			? message(api, FN(BIND_OUTPUT_TO_DEVICE, void *, const char *, const void *)(binding, out_names[i], out[i].place ? out[i].place : memory))
			: message(api, FN(BIND_OUTPUT, void *, const char *, void *)(binding, out_names[i], values[n_in + i]));
	// Binding copies inputs to the device, on a stream of its own.
	if (!err) err = message(api, FN(SYNCHRONIZE_BOUND_INPUTS, void *)(binding));
	if (!err) err = message(api, FN(RUN_WITH_BINDING, void *, void *, void *)(session, options, binding));
	void **results = NULL;
	size_t n = 0;
	if (!err) err = message(api, FN(GET_BOUND_OUTPUT_VALUES, void *, void *, void ***, size_t *)(binding, allocator, &results, &n));
	for (size_t i = 0; i < n; i++) { // in the order they were bound
		if (i < n_out && !values[n_in + i]) values[n_in + i] = results[i];
		else RELEASE(RELEASE_VALUE, results[i]);
	}
	if (results) free(message(api, FN(ALLOCATOR_FREE, void *, void *)(allocator, results)));
	if (!err && n != n_out) err = strdup("the runtime returned another number of outputs than was bound");
	RELEASE(RELEASE_IO_BINDING, binding);
	return err;
}

char *ep_run(const void *api, void *session, void *options, void *memory,
	size_t n_in, const char **in_names, ep_tensor *in,
	size_t n_out, const char **out_names, ep_tensor *out) {
	void **values = calloc(n_in + n_out, sizeof *values);
	if (!values) return strdup("out of memory");
	char *err = NULL;
	int placed = 0;
	for (size_t i = 0; !err && i < n_in; i++) {
		if (in[i].value) values[i] = in[i].value;
		else err = wrap(api, memory, &in[i], &values[i]);
	}
	for (size_t i = 0; !err && i < n_out; i++) {
		if (!out[i].allocate) err = wrap(api, memory, &out[i], &values[n_in + i]);
		placed |= out[i].place != NULL;
	}
	if (!err && placed)
		err = bound(api, session, options, memory, n_in, in_names, n_out, out_names, out, values);
	else if (!err)
		err = message(api, FN(RUN, void *, void *, const char **, void **, size_t, const char **, size_t, void **)(
			session, options, in_names, values, n_in, out_names, n_out, values + n_in));
	for (size_t i = 0; i < n_out; i++) {
		if (!err && out[i].allocate) {
			out[i].value = values[n_in + i];
			values[n_in + i] = NULL;
		}
	}
	for (size_t i = 0; i < n_in; i++)
		if (values[i] && !in[i].value) RELEASE(RELEASE_VALUE, values[i]);
	for (size_t i = n_in; i < n_in + n_out; i++)
		if (values[i]) RELEASE(RELEASE_VALUE, values[i]);
	free(values);
	return err;
}

char *ep_places(const void *api, void *session, const void **places, size_t n) {
	return message(api, FN(SESSION_GET_MEMORY_INFO_FOR_OUTPUTS, void *, const void **, size_t)(session, places, n));
}

// ep_value reads a tensor; data can be read when host is set, and is the
// provider's own handle otherwise.
char *ep_value(const void *api, void *value, ep_info *out, void **data, int *host) {
	memset(out, 0, sizeof *out);
	void *shape;
	char *err = message(api, FN(GET_TENSOR_TYPE_AND_SHAPE, void *, void **)(value, &shape));
	if (err) return err;
	err = fill(api, shape, out);
	RELEASE(RELEASE_TENSOR_TYPE_AND_SHAPE_INFO, shape);
	if (err) return err;
	const void *memory; // owned by value
	err = message(api, FN(GET_TENSOR_MEMORY_INFO, void *, const void **)(value, &memory));
	if (err) return err;
	int device;
	((void (*)(const void *, int *))((void *const *)api)[MEMORY_INFO_GET_DEVICE_TYPE])(memory, &device);
	*host = device == 0;
	return message(api, FN(GET_TENSOR_MUTABLE_DATA, void *, void **)(value, data));
}

void ep_release_value(const void *api, void *value) { RELEASE(RELEASE_VALUE, value); }
