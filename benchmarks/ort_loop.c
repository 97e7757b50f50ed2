/* The barest timing loop of ONNX Runtime: the C API, one session, real tensors in turn, a monotonic clock.
 *
 *   ort_loop MODEL.onnx TENSORS.raw WIDTH THREADS QUERIES
 *
 * TENSORS.raw holds float32 images of shape (1, 3, WIDTH, WIDTH), one behind the other. After two seconds of
 * warm-up it waits for a line before each turn, which is one query without a clock and QUERIES with one. When
 * there is no more it prints the median of all samples in ns, and their number. Built by benchmarks/agreement.py.
 */
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MOST_SAMPLES 1000000
#define WARM_UP_NS 2000000000LL

static const OrtApi *ort;

static void must(OrtStatus *status) {
  if (status) {
    fprintf(stderr, "%s\n", ort->GetErrorMessage(status));
    exit(1);
  }
}

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* One query: its time in ns. */
static long long timed(OrtSession *session, const OrtValue *image, const char *input_name,
                       char *const *output_names, size_t outputs, OrtValue **output) {
  const long long start = now_ns();
  must(ort->Run(session, NULL, &input_name, &image, 1, (const char *const *)output_names, outputs, output));
  const long long end = now_ns();
  for (size_t i = 0; i < outputs; i++) {
    ort->ReleaseValue(output[i]);
    output[i] = NULL;
  }
  return end - start;
}

static int by_size(const void *a, const void *b) {
  long long x = *(const long long *)a, y = *(const long long *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: %s MODEL TENSORS WIDTH THREADS QUERIES\n", argv[0]);
    return 2;
  }
  const int64_t width = atoll(argv[3]), shape[] = {1, 3, width, width};
  const size_t bytes = sizeof(float) * 3 * width * width;
  const int queries = atoi(argv[5]);
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (!ort) {
    fprintf(stderr, "the library is older than its headers\n");
    return 1;
  }

  FILE *file = fopen(argv[2], "rb");
  if (!file) {
    perror(argv[2]);
    return 1;
  }
  fseek(file, 0, SEEK_END);
  const size_t count = ftell(file) / bytes;
  rewind(file);
  char *data = malloc(count * bytes);
  if (!count || fread(data, bytes, count, file) != count) {
    fprintf(stderr, "%s: no whole tensor\n", argv[2]);
    return 1;
  }
  fclose(file);

  OrtEnv *env;
  OrtSessionOptions *options;
  OrtSession *session;
  OrtAllocator *allocator;
  OrtMemoryInfo *memory;
  must(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "loop", &env));
  must(ort->CreateSessionOptions(&options));
  must(ort->SetIntraOpNumThreads(options, atoi(argv[4])));
  must(ort->SetInterOpNumThreads(options, 1));
  must(ort->SetSessionGraphOptimizationLevel(options, ORT_ENABLE_ALL));
  must(ort->CreateSession(env, argv[1], options, &session));
  must(ort->GetAllocatorWithDefaultOptions(&allocator));
  must(ort->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));

  size_t outputs;
  must(ort->SessionGetOutputCount(session, &outputs));
  char *input_name, **output_names = malloc(outputs * sizeof *output_names);
  OrtValue **input = malloc(count * sizeof *input), **output = calloc(outputs, sizeof *output);
  must(ort->SessionGetInputName(session, 0, allocator, &input_name));
  for (size_t i = 0; i < outputs; i++) must(ort->SessionGetOutputName(session, i, allocator, &output_names[i]));
  for (size_t i = 0; i < count; i++)
    must(ort->CreateTensorWithDataAsOrtValue(memory, data + i * bytes, bytes, shape, 4,
                                             ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input[i]));

  long long *samples = malloc(MOST_SAMPLES * sizeof *samples), kept = 0;
  const long long begin = now_ns();
  while (now_ns() - begin < WARM_UP_NS)
    timed(session, input[0], input_name, output_names, outputs, output);
  puts("{\"phase\": \"ready\"}");
  fflush(stdout);
  char line[16];
  while (fgets(line, sizeof line, stdin) && kept + queries <= MOST_SAMPLES) {
    timed(session, input[kept % count], input_name, output_names, outputs, output);
    for (int i = 0; i < queries; i++, kept++)
      samples[kept] = timed(session, input[kept % count], input_name, output_names, outputs, output);
    puts("{\"phase\": \"turn\"}");
    fflush(stdout);
  }
  if (!kept) return 1;
  qsort(samples, kept, sizeof *samples, by_size);
  printf("%lld %lld\n", samples[kept / 2], kept);
  return 0;
}
