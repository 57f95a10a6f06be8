// The part of the ONNX Runtime C API that the Go binding does not wrap,
// reached through the append-only function table (OrtApi) by index, so that no
// third-party header has to be kept in the tree. Every function that can fail
// returns NULL or a message the caller must free.
#ifndef EDITPIPE_ORT_SHIM_H
#define EDITPIPE_ORT_SHIM_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
	void *data;          // element bytes; ignored for outputs to be allocated
	size_t bytes;        // length of data
	const int64_t *dims; // may be NULL when rank is 0
	size_t rank;
	int type;            // ONNXTensorElementDataType
	int allocate;        // outputs: let the runtime allocate
	const void *place;   // outputs to be allocated: the memory to leave them in; NULL: main memory
	void *value;         // inputs: an OrtValue to feed instead of data; outputs: the one the runtime allocated
} ep_tensor;

enum { EP_INPUT, EP_OUTPUT, EP_OVERRIDABLE };

typedef struct {
	char *name;   // caller frees
	int kind;     // ONNXType
	int type;     // ONNXTensorElementDataType, when kind is a tensor
	int has_rank; // 0: the model does not say how many dimensions
	size_t rank;
	int64_t dims[16];
} ep_info;

typedef struct {
	char *provider, *node, *op; // caller frees
} ep_node;

// ep_open maps the library for the life of the process; ep_symbol finds a
// function in it.
char *ep_open(const char *path, void **library);
void *ep_symbol(void *library, const char *name);

const char *ep_version(void *get_api_base);
const void *ep_table(void *get_api_base, uint32_t version);
// ep_hold takes a reference on the process-wide OrtEnv that is never given back.
char *ep_hold(const void *api);
const char *ep_build_info(const void *api);
char *ep_compiled(const void *api, char ***names, int *n);
void ep_release_compiled(const void *api, char **names, int n);

char *ep_cpu_memory(const void *api, void **info);
void ep_release_memory(const void *api, void *info);
char *ep_deterministic(const void *api, void *options);
void ep_cancel_load(const void *api, void *options);

char *ep_count(const void *api, void *session, int which, size_t *n);
char *ep_describe(const void *api, void *session, int which, size_t i, ep_info *out);
char *ep_nodes(const void *api, void *session, ep_node **nodes, size_t *n);
void ep_release_nodes(ep_node *nodes, size_t n);
char *ep_peak(const void *api, void *session, const char *memory, int device, char **peak);

char *ep_run_options(const void *api, void **options);
void ep_terminate(const void *api, void *options);
void ep_release_run_options(const void *api, void *options);
char *ep_run(const void *api, void *session, void *options, void *memory,
	size_t n_in, const char **in_names, ep_tensor *in,
	size_t n_out, const char **out_names, ep_tensor *out);
// ep_places gives the memory each output is computed in; the session owns it.
char *ep_places(const void *api, void *session, const void **places, size_t n);
char *ep_value(const void *api, void *value, ep_info *shape, void **data, int *host);
void ep_release_value(const void *api, void *value);

#endif
