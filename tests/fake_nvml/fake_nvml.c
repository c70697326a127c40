/*
 * fake_nvml.c - a stand-in for libnvidia-ml.so.1, so that code written against
 * the real nvidia-ml-py (pynvml), nvtop, nvitop ... runs where there is no GPU.
 * Own code, written from the public ABI (symbol names, struct layouts, constants);
 * nothing of NVIDIA's is copied or linked.
 *
 * README
 * ------
 * Build    gcc -O2 -Wall -Wextra -shared -fPIC -Wl,-soname,libnvidia-ml.so.1 \
 *              -o libnvidia-ml.so.1 fake_nvml.c -lpthread -lm
 *          -DFAKE_NVML_OLD=1 leaves out the symbols an old (R470) driver lacks, so
 *          that pynvml raises NVMLError_FunctionNotFound for them.
 * Use      LD_LIBRARY_PATH=DIR FAKE_NVML_STATE=state.ini python agent.py
 *          (pynvml 13.x does a bare CDLL("libnvidia-ml.so.1"): there is no NVML_LIB /
 *          NVML_PATH variable. LD_LIBRARY_PATH must be set before the process starts;
 *          inside a test process do ctypes.CDLL(path) first - glibc then matches the
 *          SONAME - or assign pynvml.nvmlLib = ctypes.CDLL(path) before nvmlInit().)
 * Env      FAKE_NVML_STATE    state file; without one: 8 idle H100s
 *          FAKE_NVML_POLL_MS  how often the file is looked at again (default 50)
 *          FAKE_NVML_TRACE    append "function gpu rc" for each call to this file
 *          FAKE_NVML_TIME     keep two doubles in this file: seconds spent working in here by
 *                             all threads, and calls (what a driver would cost, not we)
 * State    INI, re-read when its mtime, size or inode changes (write a temporary file
 *          and rename it). Unknown keys are reported on stderr, not ignored silently.
 *
 *   [system]
 *   count = 8              ; GPUs                     driver = 550.90.07
 *   cuda = 12040           ; 12.4                     nvml = 12.550.90.07
 *   loaded = 1             ; 0: init -> DRIVER_NOT_LOADED (9)
 *   latency_us = 0         ; sleep in every device call
 *   fail = nvmlInitWithFlags:999     ; FUNCTION:RETURN_CODE, repeatable; "*" = any call
 *   boot = 1700000000      ; epoch from which counters integrate
 *   [gpu]                  ; defaults for every GPU; [gpu.3] overrides one
 *   util = 70~10           ; numbers: 70 | 0x40 | 70~10 (jitter) | sin:50:40:60
 *                          ;          (mean:amplitude:period s) | steps:0,95,95@30 (30 s each)
 *   sm_active = 55  tensor = 30 ...  ; see the GPU_NUMS table for all keys and defaults
 *   lost = 1               ; GPU_IS_LOST (15) from every call on this GPU
 *   reset_required = 1     ; RESET_REQUIRED (16)
 *   absent = 1             ; not enumerated at the next nvmlInit: later indices SHIFT
 *   hang_ms = 30000        ; the call blocks that long (a wedged driver), or until the
 *                          ; state file says less
 *   fail = nvmlDeviceGetPowerUsage:3
 *   proc = PID,MIB[,SM%[,MEM%[,GI,CI]]]         ; repeatable
 *   mig_dev = GI,CI,SLICES,MIB[,UUID]           ; repeatable, needs mig = 1
 *   [events]
 *   event = ID,GPU,TYPE,DATA[,GI,CI]   ; ID must grow; TYPE 8 = XID, DATA = XID number
 *
 * A changed "driver" in a running process gives LIB_RM_VERSION_MISMATCH (18) until that
 * process is restarted, as after a driver upgrade under a process that keeps the old
 * library mapped. Semantics follow the public NVML documentation, and one H100 SXM in a
 * virtual machine (driver 580.159.04, nvlinks = 0, fabric_state = 0): docs/telemetry.md has
 * what was recorded there, by tests/agents/node/real/record.py. MIG, NVLink and faults of
 * the hardware were never seen for real.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
#define MAXGPU 16
#define MAXMIG 7
#define MAXPROC 32
#define MAXEV 256
#define MAXFAIL 32
#define NLINK 18 /* H100 SXM: 18 NVLink4 links */

typedef int ret_t;
enum { OK = 0, E_UNINIT = 1, E_ARG = 2, E_NOTSUP = 3, E_NOPERM = 4, E_NOTFOUND = 6, E_SIZE = 7,
       E_NODRV = 9, E_TIMEOUT = 10, E_LOST = 15, E_RESET = 16, E_MISMATCH = 18, E_VERSION = 25 };

/* ---------- ABI structs (x86-64), sizes checked against the version words ---------- */
typedef struct { uint64_t total, free, used; } mem1_t;
typedef struct { uint32_t version; uint64_t total, reserved, free, used; } mem2_t;
typedef struct { uint64_t total, free, used; } bar1_t;
typedef struct { uint32_t gpu, memory; } util_t;
typedef struct { char busIdLegacy[16]; uint32_t domain, bus, device, pciDeviceId, pciSubSystemId; char busId[32]; } pci_t;
typedef struct { uint32_t pid; uint64_t mem; } proc1_t;
typedef struct { uint32_t pid; uint64_t mem; uint32_t gi, ci; } proc2_t;
typedef struct { uint32_t pid; uint64_t ts; uint32_t sm, memu, enc, dec; } putil_t;
typedef struct { uint64_t ts; uint32_t pid, sm, memu, enc, dec, jpg, ofa; } putil2_t;
typedef struct { uint32_t version, count; uint64_t last; putil2_t *arr; } putils_t;
typedef struct { uint32_t field, scope; int64_t ts, latency; uint32_t vtype; int32_t rc; union { double d; uint32_t u; uint64_t ull; int64_t sll; int32_t i; } v; } field_t;
typedef struct { void *dev; uint64_t type, data; uint32_t gi, ci; } event_t;
typedef struct { uint32_t gpuUtil, memUtil; uint64_t maxMem, time, start; uint32_t running, rsv[5]; } acct_t;
typedef struct { uint32_t id; int32_t rc; double value; const char *sname, *lname, *unit; } gpm_metric_t;
typedef struct { uint32_t version, n; void *s1, *s2; gpm_metric_t m[1]; } gpm_get_t;
typedef struct { uint32_t version, supported; } gpm_sup_t;
typedef struct { uint8_t uuid[16]; int32_t status; uint32_t clique; uint8_t state; } fab1_t;
typedef struct { uint32_t version; uint8_t uuid[16]; int32_t status; uint32_t clique; uint8_t state; uint32_t health; } fab2_t;
typedef struct { uint32_t version; uint8_t uuid[16]; int32_t status; uint32_t clique; uint8_t state; uint32_t health; uint8_t summary; } fab3_t;
typedef struct { uint32_t version, sensor; int32_t temp; } tempv_t;
typedef struct { uint32_t smc, ce, dec, enc, jpg, ofa, gislices, cislices; uint64_t memMB; } attr_t;
typedef struct { uint32_t max, high, partial, low, none; } hist_t;
typedef struct { uint64_t ref, viol; } viol_t;
typedef struct { uint32_t version; uint64_t c[11]; uint32_t exceeded; } sram_t;
_Static_assert(sizeof(mem2_t) == 0x28, "nvmlMemory_v2");
_Static_assert(sizeof(fab2_t) == 0x24, "nvmlGpuFabricInfo_v2");
_Static_assert(sizeof(fab3_t) == 0x28, "nvmlGpuFabricInfo_v3");
_Static_assert(sizeof(tempv_t) == 0x0c, "nvmlTemperature_v1");
_Static_assert(sizeof(putils_t) == 0x18, "ProcessesUtilizationInfo_v1");
_Static_assert(sizeof(sram_t) == 0x68, "nvmlEccSramErrorStatus_v1");
_Static_assert(sizeof(gpm_metric_t) == 40 && sizeof(proc2_t) == 24 && sizeof(field_t) == 40, "layout");

/* ---------- state ---------- */
typedef struct { int kind; double a, b, c, steps[16]; int n; } num_t; /* 0 const 1 jitter 2 sin 3 steps */
#define GPU_NUMS(X) \
  X(util,0) X(mem_util,0) X(enc_util,0) X(dec_util,0) \
  X(gr_active,0) X(sm_active,0) X(sm_occupancy,0) X(int_active,0) X(tensor,0) X(dram,0) X(fp64,0) X(fp32,0) X(fp16,0) \
  X(mem_total_mib,81559) X(mem_reserved_mib,551) X(mem_used_mib,4) X(bar1_total_mib,131072) X(bar1_used_mib,1) \
  X(sm_clock,345) X(mem_clock,2619) X(sm_clock_max,1980) X(mem_clock_max,2619) \
  X(power_w,70) X(power_limit_w,700) X(power_default_w,700) X(power_min_w,200) X(temp,32) X(mem_temp,36) \
  X(temp_slowdown,87) X(temp_shutdown,92) X(pstate,0) X(throttle,1) \
  X(viol_power_ns,0) X(viol_thermal_ns,0) \
  X(ecc_mode,1) X(ecc_sbe_vol,0) X(ecc_dbe_vol,0) X(ecc_sbe_agg,0) X(ecc_dbe_agg,0) X(sram_ue_agg,0) X(sram_threshold,0) \
  X(remap_corr,0) X(remap_unc,0) X(remap_pending,0) X(remap_failed,0) X(recovery_action,0) \
  X(nvlinks,18) X(nvlink_up,18) X(nvlink_tx_mibs,0) X(nvlink_rx_mibs,0) X(nvlink_crc,0) X(nvlink_replay,0) X(nvlink_recovery,0) \
  X(pcie_tx_kibs,1000) X(pcie_rx_kibs,1000) X(pcie_gen,5) X(pcie_width,16) X(pcie_replay,0) \
  X(mig,0) X(persistence,1) X(accounting,0) X(compute_mode,0) \
  X(fabric_state,3) X(fabric_status,0) X(fabric_clique,0) X(fabric_health,0xAAAA) X(fabric_summary,1) X(fabric_version,3) \
  X(energy_base_mj,0) X(lost,0) X(reset_required,0) X(absent,0) X(hang_ms,0)
#define X(n, d) K_##n,
enum { GPU_NUMS(X) NK };
#undef X
#define X(n, d) { #n, d },
static const struct { const char *n; double d; } keys[NK] = { GPU_NUMS(X) };
#undef X
typedef struct { char fn[56]; int rc; } fail_t;
typedef struct { uint32_t pid; double mib, sm, memu; uint32_t gi, ci; } sproc_t;
typedef struct { uint32_t gi, ci, slices; double mib; char uuid[96]; } smig_t;
typedef struct {
  num_t v[NK]; char name[96], uuid[96], serial[32], vbios[32], fabric_uuid[40], busid[32];
  sproc_t p[MAXPROC]; int np; smig_t m[MAXMIG]; int nm; fail_t f[MAXFAIL]; int nf;
} gpu_t;
typedef struct { uint64_t id; int gpu; uint64_t type, data; uint32_t gi, ci; } sev_t;
typedef struct {
  int count, cuda, loaded; double latency_us, boot; char driver[80], nvml[80];
  fail_t f[MAXFAIL]; int nf; gpu_t g[MAXGPU]; sev_t e[MAXEV]; int ne;
} state_t;

typedef struct { uint32_t magic; int gpu, mig; } dev_t_;
#define MAGIC 0xFA4E0001u
static dev_t_ devs[MAXGPU], migs[MAXGPU][MAXMIG];
static state_t *S;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static int refs, order[MAXGPU], norder;
static char lib_driver[80]; /* the driver version this mapped library "belongs" to */
static double next_poll; static struct stat last_st;
enum { ACC_E, ACC_TX, ACC_RX, ACC_PTX, ACC_PRX, NACC };
static double acc[MAXGPU][NACC], acc_t[MAXGPU];

static double now_s(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static void sleep_us(double us) { struct timespec t = { (time_t)(us / 1e6), (long)(fmod(us, 1e6) * 1e3) }; nanosleep(&t, NULL); }

static num_t parse_num(const char *s) {
  num_t r; memset(&r, 0, sizeof r);
  if (!strncmp(s, "sin:", 4)) { r.kind = 2; sscanf(s + 4, "%lf:%lf:%lf", &r.a, &r.b, &r.c); if (r.c <= 0) r.c = 60; return r; }
  if (!strncmp(s, "steps:", 6)) {
    char *e = (char *)s + 6; r.kind = 3; r.c = 10;
    while (r.n < 16) { r.steps[r.n++] = strtod(e, &e); if (*e != ',') break; e++; }
    if (*e == '@') r.c = strtod(e + 1, NULL);
    if (r.c <= 0) r.c = 10;
    return r;
  }
  char *e; r.a = strncmp(s, "0x", 2) ? strtod(s, &e) : (double)strtoull(s, &e, 16);
  if (*e == '~') { r.kind = 1; r.b = strtod(e + 1, NULL); }
  return r;
}
static double eval(const num_t *x, int g, int k, double t) {
  if (x->kind == 0) return x->a;
  if (x->kind == 2) return x->a + x->b * sin(2 * M_PI * (t / x->c + g / 8.0));
  if (x->kind == 3) return x->steps[(long)(t / x->c) % x->n];
  uint64_t h = (uint64_t)(t * 10) * 0x9E3779B97F4A7C15ull + (uint64_t)(g * 131 + k) * 0xBF58476D1CE4E5B9ull;
  h ^= h >> 31; h *= 0x94D049BB133111EBull; h ^= h >> 29;
  return x->a + x->b * (2.0 * (h & 0xffffff) / 16777216.0 - 1);
}
static double G(int g, int k) { double v = eval(&S->g[g].v[k], g, k, now_s()); return v < 0 ? 0 : v; }
static uint32_t U(int g, int k) { return (uint32_t)(G(g, k) + 0.5); }

static void defaults(state_t *s) {
  memset(s, 0, sizeof *s);
  s->count = 8; s->cuda = 12040; s->loaded = 1; s->boot = 1700000000;
  strcpy(s->driver, "550.90.07"); strcpy(s->nvml, "12.550.90.07");
  static const int bus[8] = { 0x1b, 0x43, 0x52, 0x61, 0x9d, 0xc3, 0xd1, 0xdf };
  for (int i = 0; i < MAXGPU; i++) {
    gpu_t *g = &s->g[i];
    for (int k = 0; k < NK; k++) g->v[k].a = keys[k].d;
    strcpy(g->name, "NVIDIA H100 80GB HBM3"); strcpy(g->vbios, "96.00.89.00.01");
    strcpy(g->fabric_uuid, "00000000-0000-0000-0000-000000000000"); /* single-node HGX: zero uuid */
    snprintf(g->uuid, sizeof g->uuid, "GPU-fa4e0000-0000-4000-8000-%012x", i);
    snprintf(g->serial, sizeof g->serial, "16539240%05d", i);
    snprintf(g->busid, sizeof g->busid, "00000000:%02X:00.0", i < 8 ? bus[i] : 0xe0 + i);
  }
}
static void set_gpu(gpu_t *g, int idx, const char *k, const char *v) {
  for (int i = 0; i < NK; i++) if (!strcmp(k, keys[i].n)) { g->v[i] = parse_num(v); return; }
#define STR(f) if (!strcmp(k, #f)) { snprintf(g->f, sizeof g->f, "%s", v); return; }
  STR(name) STR(uuid) STR(serial) STR(vbios) STR(fabric_uuid) STR(busid)
  if (!strcmp(k, "proc")) {
    if (g->np < MAXPROC) { sproc_t p = { 0, 0, 0, 0, ~0u, ~0u };
      if (sscanf(v, "%u,%lf,%lf,%lf,%u,%u", &p.pid, &p.mib, &p.sm, &p.memu, &p.gi, &p.ci) >= 2) g->p[g->np++] = p; }
    return;
  }
  if (!strcmp(k, "mig_dev")) {
    if (g->nm < MAXMIG) { smig_t m; memset(&m, 0, sizeof m);
      snprintf(m.uuid, sizeof m.uuid, "MIG-fa4e0000-%04x-4000-8000-%012x", g->nm, idx);
      if (sscanf(v, "%u,%u,%u,%lf,%95s", &m.gi, &m.ci, &m.slices, &m.mib, m.uuid) >= 4) g->m[g->nm++] = m; }
    return;
  }
  if (!strcmp(k, "fail")) { if (g->nf < MAXFAIL && sscanf(v, "%55[^:]:%d", g->f[g->nf].fn, &g->f[g->nf].rc) == 2) g->nf++; return; }
  fprintf(stderr, "fake_nvml: unknown gpu key '%s'\n", k);
}
static void set_sys(state_t *s, const char *k, const char *v) {
  if (!strcmp(k, "count")) { s->count = atoi(v); if (s->count > MAXGPU) s->count = MAXGPU; }
  else if (!strcmp(k, "cuda")) s->cuda = atoi(v);
  else if (!strcmp(k, "loaded")) s->loaded = atoi(v);
  else if (!strcmp(k, "latency_us")) s->latency_us = atof(v);
  else if (!strcmp(k, "boot")) s->boot = atof(v);
  else if (!strcmp(k, "driver")) snprintf(s->driver, sizeof s->driver, "%s", v);
  else if (!strcmp(k, "nvml")) snprintf(s->nvml, sizeof s->nvml, "%s", v);
  else if (!strcmp(k, "fail")) { if (s->nf < MAXFAIL && sscanf(v, "%55[^:]:%d", s->f[s->nf].fn, &s->f[s->nf].rc) == 2) s->nf++; }
  else fprintf(stderr, "fake_nvml: unknown system key '%s'\n", k);
}
static char *strip(char *s) { while (isspace((unsigned char)*s)) s++; char *e = s + strlen(s); while (e > s && isspace((unsigned char)e[-1])) *--e = 0; return s; }
static double poll_s(void) { const char *ms = getenv("FAKE_NVML_POLL_MS"); return (ms ? atof(ms) : 50) / 1e3; }
static void load(int force) { /* mu held */
  double t = now_s();
  if (!force && t < next_poll) return;
  next_poll = t + poll_s();
  const char *path = getenv("FAKE_NVML_STATE"); struct stat st;
  if (!path || stat(path, &st)) { if (!S) { S = malloc(sizeof *S); defaults(S); } }
  else if (!S || st.st_mtim.tv_sec != last_st.st_mtim.tv_sec || st.st_mtim.tv_nsec != last_st.st_mtim.tv_nsec || st.st_size != last_st.st_size || st.st_ino != last_st.st_ino) {
    FILE *f = fopen(path, "r");
    if (f) {
      state_t *s = malloc(sizeof *s); defaults(s); char line[512]; int sec = 0, idx = -1;
      while (fgets(line, sizeof line, f)) {
        char *c = strpbrk(line, ";#"); if (c) *c = 0;
        char *l = strip(line); if (!*l) continue;
        if (*l == '[') { idx = -1; sec = !strncmp(l, "[system]", 8) ? 1 : !strncmp(l, "[events]", 8) ? 3 : !strncmp(l, "[gpu", 4) ? 2 : 0; if (sec == 2 && l[4] == '.') idx = atoi(l + 5); continue; }
        char *eq = strchr(l, '='); if (!eq) continue; *eq = 0; char *k = strip(l), *v = strip(eq + 1);
        if (sec == 1) set_sys(s, k, v);
        else if (sec == 2) { if (idx >= 0 && idx < MAXGPU) set_gpu(&s->g[idx], idx, k, v); else for (int i = 0; i < MAXGPU; i++) set_gpu(&s->g[i], i, k, v); }
        else if (sec == 3 && s->ne < MAXEV) { sev_t e = { 0, 0, 0, 0, ~0u, ~0u }; unsigned long id, ty, da;
          if (sscanf(v, "%lu,%d,%li,%lu,%u,%u", &id, &e.gpu, (long *)&ty, &da, &e.gi, &e.ci) >= 4) { e.id = id; e.type = ty; e.data = da; s->e[s->ne++] = e; } }
      }
      fclose(f); state_t *old = S; S = s; last_st = st; free(old);
    } else if (!S) { S = malloc(sizeof *S); defaults(S); }
  }
  if (!lib_driver[0]) strcpy(lib_driver, S->driver);
}
static void trace(const char *fn, int g, int rc) {
  static FILE *f; static int once; if (!once) { once = 1; const char *p = getenv("FAKE_NVML_TRACE"); if (p) f = fopen(p, "a"); }
  if (f) { fprintf(f, "%s %d %d\n", fn, g, rc); fflush(f); }
}
/* The time in here, in a file that a benchmark reads meanwhile. By the machine's clock: the calling thread's own
   is a system call, twice for each of ours, and those took more than all that is done in here. */
static double *time_total(void) {
  static double *p; static int once;
  if (!once) {
    once = 1; const char *path = getenv("FAKE_NVML_TIME"); int fd = path ? open(path, O_RDWR | O_CREAT, 0600) : -1;
    if (fd >= 0 && !ftruncate(fd, 2 * sizeof *p)) { void *m = mmap(NULL, 2 * sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); if (m != MAP_FAILED) p = m; }
    if (fd >= 0) close(fd);
  }
  return p;
}
static __thread double time_from;
static double clock_s(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static void time_in(void) { if (time_total()) time_from = clock_s(); } /* mu held, as below */
static void time_out(void) { double *p = time_total(); if (p) { p[0] += clock_s() - time_from; p[1] += 1; } }
static int failing(const fail_t *f, int n, const char *fn) { for (int i = 0; i < n; i++) if (!strcmp(f[i].fn, fn) || !strcmp(f[i].fn, "*")) return f[i].rc; return 0; }

/* Block as a wedged driver does, without the lock; looks at the state again, so that a test can end it. */
static void hold(int g, double us) {
  double until = now_s() + us / 1e6;
  for (double left = us; left > 0;) {
    pthread_mutex_unlock(&mu); sleep_us(left < 2e4 ? left : 2e4); pthread_mutex_lock(&mu);
    load(0); left = (until - now_s()) * 1e6;
    if (G(g, K_hang_ms) * 1e3 + S->latency_us < us) left = 0;
  }
}

/* Enter an API call: takes the lock; on failure releases it and returns a code. */
static ret_t enter(const char *fn, void *h, int *g) {
  pthread_mutex_lock(&mu); time_in(); load(0);
  ret_t r = OK; double hang = 0;
  if (!refs) r = E_UNINIT;
  else if (!S->loaded) r = E_NODRV;
  else if (strcmp(lib_driver, S->driver)) r = E_MISMATCH;
  else if ((r = failing(S->f, S->nf, fn))) ;
  else if (g) {
    dev_t_ *d = h;
    int ok = d && ((d >= devs && d < devs + MAXGPU) || (d >= &migs[0][0] && d < &migs[0][0] + MAXGPU * MAXMIG)) && d->magic == MAGIC;
    if (!ok) r = E_ARG;
    else {
      *g = d->gpu; hang = G(*g, K_hang_ms) * 1e3 + S->latency_us;
      if (U(*g, K_lost)) r = E_LOST; else if (U(*g, K_reset_required)) r = E_RESET; else r = failing(S->g[*g].f, S->g[*g].nf, fn);
    }
  }
  trace(fn, g && !r ? *g : -1, r);
  if (hang > 0) hold(*g, hang);
  if (r) { time_out(); pthread_mutex_unlock(&mu); }
  return r;
}
#define LEAVE(x) do { ret_t r_ = (x); time_out(); pthread_mutex_unlock(&mu); return r_; } while (0)
#define SYS() ret_t rc_ = enter(__func__, NULL, NULL); if (rc_) return rc_
#define DEV(h) int g; ret_t rc_ = enter(__func__, h, &g); if (rc_) return rc_
#define MIGOF(h) (((dev_t_ *)(h))->mig)
static ret_t put(char *dst, unsigned len, const char *s) { if (!dst) return E_ARG; if (strlen(s) + 1 > len) return E_SIZE; strcpy(dst, s); return OK; }
static void integrate(int g) {
  double t = now_s(); if (acc_t[g] == 0) acc_t[g] = S->boot; double dt = t - acc_t[g]; if (dt < 0) dt = 0; acc_t[g] = t;
  acc[g][ACC_E] += G(g, K_power_w) * 1e3 * dt; acc[g][ACC_TX] += G(g, K_nvlink_tx_mibs) * 1024 * dt; acc[g][ACC_RX] += G(g, K_nvlink_rx_mibs) * 1024 * dt;
  acc[g][ACC_PTX] += G(g, K_pcie_tx_kibs) * 1024 * dt; acc[g][ACC_PRX] += G(g, K_pcie_rx_kibs) * 1024 * dt;
}

/* ---------- system ---------- */
API const int fake_nvml = 1; /* by which a program can tell this from NVIDIA's */
static ret_t do_init(const char *fn) {
  pthread_mutex_lock(&mu); time_in(); load(1);
  ret_t r = !S->loaded ? E_NODRV : strcmp(lib_driver, S->driver) ? E_MISMATCH : failing(S->f, S->nf, fn);
  trace(fn, -1, r);
  if (!r && !refs++) {
    norder = 0; /* enumeration is a snapshot taken at the first init, as in real NVML */
    for (int i = 0; i < S->count; i++) if (!U(i, K_absent)) order[norder++] = i;
    for (int i = 0; i < MAXGPU; i++) { devs[i] = (dev_t_){ MAGIC, i, -1 }; for (int j = 0; j < MAXMIG; j++) migs[i][j] = (dev_t_){ MAGIC, i, j }; }
  }
  LEAVE(r);
}
API ret_t nvmlInit_v2(void) { return do_init(__func__); }
API ret_t nvmlInit(void) { return do_init(__func__); }
API ret_t nvmlInitWithFlags(unsigned flags) { (void)flags; return do_init(__func__); }
API ret_t nvmlShutdown(void) { pthread_mutex_lock(&mu); time_in(); ret_t r = refs > 0 ? OK : E_UNINIT; if (refs > 0) refs--; LEAVE(r); }
API const char *nvmlErrorString(ret_t r) {
  switch (r) { case 0: return "Success"; case 1: return "Uninitialized"; case 2: return "Invalid Argument"; case 3: return "Not Supported"; case 4: return "Insufficient Permissions";
    case 6: return "Not Found"; case 7: return "Insufficient Size"; case 9: return "Driver Not Loaded"; case 10: return "Timeout"; case 13: return "Function Not Found"; case 15: return "GPU is lost";
    case 16: return "GPU requires reset"; case 18: return "Driver/library version mismatch"; case 25: return "Argument version mismatch"; default: return "Unknown Error"; }
}
API ret_t nvmlSystemGetDriverVersion(char *b, unsigned n) { SYS(); LEAVE(put(b, n, S->driver)); }
API ret_t nvmlSystemGetNVMLVersion(char *b, unsigned n) { SYS(); LEAVE(put(b, n, S->nvml)); }
API ret_t nvmlSystemGetCudaDriverVersion(int *v) { SYS(); *v = S->cuda; LEAVE(OK); }
API ret_t nvmlSystemGetCudaDriverVersion_v2(int *v) { SYS(); *v = S->cuda; LEAVE(OK); }
API ret_t nvmlSystemGetProcessName(unsigned pid, char *b, unsigned n) {
  SYS(); char p[64], c[1024] = ""; snprintf(p, sizeof p, "/proc/%u/cmdline", pid); FILE *f = fopen(p, "r");
  if (!f) LEAVE(E_NOTFOUND);
  size_t k = fread(c, 1, sizeof c - 1, f); c[k] = 0; fclose(f); snprintf(b, n, "%s", c); LEAVE(OK);
}
/* ---------- enumeration ---------- */
static ret_t dcount(unsigned *n) { *n = norder; return OK; }
API ret_t nvmlDeviceGetCount_v2(unsigned *n) { SYS(); LEAVE(dcount(n)); }
API ret_t nvmlDeviceGetCount(unsigned *n) { SYS(); LEAVE(dcount(n)); }
static ret_t handle(int g, void **h) { *h = &devs[g]; return U(g, K_lost) ? E_LOST : OK; }
static ret_t by_index(unsigned i, void **h) { return i >= (unsigned)norder ? E_ARG : handle(order[i], h); }
API ret_t nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { SYS(); LEAVE(by_index(i, h)); }
API ret_t nvmlDeviceGetHandleByIndex(unsigned i, void **h) { SYS(); LEAVE(by_index(i, h)); }
API ret_t nvmlDeviceGetHandleByUUID(const char *u, void **h) {
  SYS();
  for (int i = 0; i < norder; i++) { gpu_t *p = &S->g[order[i]]; if (!strcmp(p->uuid, u)) LEAVE(handle(order[i], h));
    for (int j = 0; j < p->nm; j++) if (!strcmp(p->m[j].uuid, u)) { *h = &migs[order[i]][j]; LEAVE(OK); } }
  LEAVE(E_NOTFOUND);
}
static ret_t by_pci(const char *b, void **h) {
  for (int i = 0; i < norder; i++) { const char *x = S->g[order[i]].busid; if (!strcasecmp(x, b) || (strlen(x) > strlen(b) && !strcasecmp(x + strlen(x) - strlen(b), b))) return handle(order[i], h); }
  return E_NOTFOUND;
}
API ret_t nvmlDeviceGetHandleByPciBusId_v2(const char *b, void **h) { SYS(); LEAVE(by_pci(b, h)); }
API ret_t nvmlDeviceGetHandleByPciBusId(const char *b, void **h) { SYS(); LEAVE(by_pci(b, h)); }
API ret_t nvmlDeviceGetHandleBySerial(const char *s, void **h) { SYS(); for (int i = 0; i < norder; i++) if (!strcmp(S->g[order[i]].serial, s)) LEAVE(handle(order[i], h)); LEAVE(E_NOTFOUND); }
API ret_t nvmlDeviceGetIndex(void *d, unsigned *o) { DEV(d); if (MIGOF(d) >= 0) { *o = MIGOF(d); LEAVE(OK); } for (int i = 0; i < norder; i++) if (order[i] == g) *o = i; LEAVE(OK); }
API ret_t nvmlDeviceGetMinorNumber(void *d, unsigned *o) { DEV(d); *o = g; LEAVE(OK); }
API ret_t nvmlDeviceGetModuleId(void *d, unsigned *o) { DEV(d); *o = g + 1; LEAVE(OK); }
API ret_t nvmlDeviceGetName(void *d, char *b, unsigned n) {
  DEV(d); if (MIGOF(d) < 0) LEAVE(put(b, n, S->g[g].name));
  char t[128]; smig_t *m = &S->g[g].m[MIGOF(d)]; snprintf(t, sizeof t, "%.90s MIG %ug.%ugb", S->g[g].name, m->slices, (unsigned)(m->mib / 1024 + 0.5)); LEAVE(put(b, n, t));
}
API ret_t nvmlDeviceGetUUID(void *d, char *b, unsigned n) { DEV(d); LEAVE(put(b, n, MIGOF(d) < 0 ? S->g[g].uuid : S->g[g].m[MIGOF(d)].uuid)); }
API ret_t nvmlDeviceGetSerial(void *d, char *b, unsigned n) { DEV(d); LEAVE(put(b, n, S->g[g].serial)); }
API ret_t nvmlDeviceGetVbiosVersion(void *d, char *b, unsigned n) { DEV(d); LEAVE(put(b, n, S->g[g].vbios)); }
API ret_t nvmlDeviceGetGspFirmwareVersion(void *d, char *b) { DEV(d); LEAVE(put(b, 64, S->driver)); }
API ret_t nvmlDeviceGetDriverModel(void *d, unsigned *a, unsigned *b) { DEV(d); (void)a; (void)b; LEAVE(E_NOTSUP); } /* Windows only */
API ret_t nvmlDeviceGetDriverModel_v2(void *d, unsigned *a, unsigned *b) { DEV(d); (void)a; (void)b; LEAVE(E_NOTSUP); }
API ret_t nvmlDeviceGetBrand(void *d, unsigned *o) { DEV(d); *o = 14; LEAVE(OK); }
API ret_t nvmlDeviceGetArchitecture(void *d, unsigned *o) { DEV(d); *o = 9; LEAVE(OK); } /* Hopper */
API ret_t nvmlDeviceGetCudaComputeCapability(void *d, int *a, int *b) { DEV(d); *a = 9; *b = 0; LEAVE(OK); }
API ret_t nvmlDeviceGetNumGpuCores(void *d, unsigned *o) { DEV(d); *o = 16896; LEAVE(OK); }
static ret_t pci(int g, pci_t *p) {
  memset(p, 0, sizeof *p); const char *b = S->g[g].busid; unsigned dom = 0, bus = 0, dv = 0; sscanf(b, "%x:%x:%x", &dom, &bus, &dv);
  p->domain = dom; p->bus = bus; p->device = dv; p->pciDeviceId = 0x233010DE; p->pciSubSystemId = 0x16C110DE;
  snprintf(p->busId, 32, "%s", b); snprintf(p->busIdLegacy, 16, "%s", b + 4); return OK;
}
API ret_t nvmlDeviceGetPciInfo_v3(void *d, pci_t *p) { DEV(d); LEAVE(pci(g, p)); }
API ret_t nvmlDeviceGetPciInfo_v2(void *d, pci_t *p) { DEV(d); LEAVE(pci(g, p)); }
API ret_t nvmlDeviceGetPciInfo(void *d, pci_t *p) { DEV(d); LEAVE(pci(g, p)); }
/* ---------- memory, utilization, clocks, power, temperature ---------- */
static void mem(void *d, int g, double *t, double *r, double *u) {
  if (MIGOF(d) < 0) { *t = G(g, K_mem_total_mib); *r = G(g, K_mem_reserved_mib); *u = G(g, K_mem_used_mib); for (int i = 0; i < S->g[g].np; i++) *u += S->g[g].p[i].mib; }
  else { smig_t *m = &S->g[g].m[MIGOF(d)]; *t = m->mib; *r = 0; *u = 0; for (int i = 0; i < S->g[g].np; i++) if (S->g[g].p[i].gi == m->gi) *u += S->g[g].p[i].mib; }
}
#define MIB 1048576.0
API ret_t nvmlDeviceGetMemoryInfo(void *d, mem1_t *o) { DEV(d); double t, r, u; mem(d, g, &t, &r, &u); o->total = t * MIB; o->used = (u + r) * MIB; o->free = o->total - o->used; LEAVE(OK); }
#ifndef FAKE_NVML_OLD
API ret_t nvmlDeviceGetMemoryInfo_v2(void *d, mem2_t *o) { DEV(d); if (o->version != (0x02000000u | sizeof *o)) LEAVE(E_VERSION); double t, r, u; mem(d, g, &t, &r, &u); o->total = t * MIB; o->reserved = r * MIB; o->used = u * MIB; o->free = o->total - o->reserved - o->used; LEAVE(OK); }
#endif
API ret_t nvmlDeviceGetBAR1MemoryInfo(void *d, bar1_t *o) { DEV(d); o->total = G(g, K_bar1_total_mib) * MIB; o->used = G(g, K_bar1_used_mib) * MIB; o->free = o->total - o->used; LEAVE(OK); }
API ret_t nvmlDeviceGetUtilizationRates(void *d, util_t *o) { DEV(d); if (U(g, K_mig)) LEAVE(E_NOTSUP); /* as with MIG on */ o->gpu = U(g, K_util); o->memory = U(g, K_mem_util); LEAVE(OK); }
API ret_t nvmlDeviceGetEncoderUtilization(void *d, unsigned *o, unsigned *p) { DEV(d); *o = U(g, K_enc_util); *p = 167000; LEAVE(OK); }
API ret_t nvmlDeviceGetDecoderUtilization(void *d, unsigned *o, unsigned *p) { DEV(d); *o = U(g, K_dec_util); *p = 167000; LEAVE(OK); }
static ret_t clk(int g, unsigned ty, unsigned *o, int mx) { if (ty > 3) return E_ARG; *o = ty == 2 ? U(g, mx ? K_mem_clock_max : K_mem_clock) : U(g, mx ? K_sm_clock_max : K_sm_clock); return OK; }
API ret_t nvmlDeviceGetClockInfo(void *d, unsigned t, unsigned *o) { DEV(d); LEAVE(clk(g, t, o, 0)); }
API ret_t nvmlDeviceGetClock(void *d, unsigned t, unsigned id, unsigned *o) { DEV(d); LEAVE(clk(g, t, o, id != 0)); }
API ret_t nvmlDeviceGetMaxClockInfo(void *d, unsigned t, unsigned *o) { DEV(d); LEAVE(clk(g, t, o, 1)); }
API ret_t nvmlDeviceGetApplicationsClock(void *d, unsigned t, unsigned *o) { DEV(d); LEAVE(clk(g, t, o, 1)); }
API ret_t nvmlDeviceGetPowerUsage(void *d, unsigned *o) { DEV(d); *o = G(g, K_power_w) * 1e3; LEAVE(OK); }
API ret_t nvmlDeviceGetPowerManagementLimit(void *d, unsigned *o) { DEV(d); *o = G(g, K_power_limit_w) * 1e3; LEAVE(OK); }
API ret_t nvmlDeviceGetEnforcedPowerLimit(void *d, unsigned *o) { DEV(d); *o = G(g, K_power_limit_w) * 1e3; LEAVE(OK); }
API ret_t nvmlDeviceGetPowerManagementDefaultLimit(void *d, unsigned *o) { DEV(d); *o = G(g, K_power_default_w) * 1e3; LEAVE(OK); }
API ret_t nvmlDeviceGetPowerManagementLimitConstraints(void *d, unsigned *a, unsigned *b) { DEV(d); *a = G(g, K_power_min_w) * 1e3; *b = G(g, K_power_default_w) * 1e3; LEAVE(OK); }
API ret_t nvmlDeviceGetTotalEnergyConsumption(void *d, uint64_t *o) { DEV(d); integrate(g); *o = G(g, K_energy_base_mj) + acc[g][ACC_E]; LEAVE(OK); }
API ret_t nvmlDeviceGetTemperature(void *d, unsigned s, unsigned *o) { DEV(d); if (s) LEAVE(E_ARG); *o = U(g, K_temp); LEAVE(OK); }
API ret_t nvmlDeviceGetTemperatureThreshold(void *d, unsigned s, unsigned *o) { DEV(d); *o = U(g, s == 0 ? K_temp_shutdown : K_temp_slowdown); LEAVE(OK); }
#ifndef FAKE_NVML_OLD
API ret_t nvmlDeviceGetTemperatureV(void *d, tempv_t *o) { DEV(d); if (o->version != 0x100000C) LEAVE(E_VERSION); o->temp = U(g, K_temp); LEAVE(OK); }
#endif
API ret_t nvmlDeviceGetPowerState(void *d, unsigned *o) { DEV(d); *o = U(g, K_pstate); LEAVE(OK); }
API ret_t nvmlDeviceGetPerformanceState(void *d, unsigned *o) { DEV(d); *o = U(g, K_pstate); LEAVE(OK); }
API ret_t nvmlDeviceGetCurrentClocksThrottleReasons(void *d, uint64_t *o) { DEV(d); *o = G(g, K_throttle); LEAVE(OK); }
API ret_t nvmlDeviceGetSupportedClocksThrottleReasons(void *d, uint64_t *o) { DEV(d); *o = 0x1ff; LEAVE(OK); }
#ifndef FAKE_NVML_OLD
API ret_t nvmlDeviceGetCurrentClocksEventReasons(void *d, uint64_t *o) { DEV(d); *o = G(g, K_throttle); LEAVE(OK); }
API ret_t nvmlDeviceGetSupportedClocksEventReasons(void *d, uint64_t *o) { DEV(d); *o = 0x1ff; LEAVE(OK); }
#endif
API ret_t nvmlDeviceGetViolationStatus(void *d, unsigned p, viol_t *o) { DEV(d); o->ref = now_s() * 1e6; o->viol = p == 0 ? G(g, K_viol_power_ns) : p == 1 ? G(g, K_viol_thermal_ns) : 0; LEAVE(OK); }
API ret_t nvmlDeviceGetFanSpeed(void *d, unsigned *o) { DEV(d); (void)o; LEAVE(E_NOTSUP); } /* SXM boards have no fan */
API ret_t nvmlDeviceGetNumFans(void *d, unsigned *o) { DEV(d); *o = 0; LEAVE(OK); }
API ret_t nvmlDeviceGetPersistenceMode(void *d, unsigned *o) { DEV(d); *o = U(g, K_persistence); LEAVE(OK); }
API ret_t nvmlDeviceGetComputeMode(void *d, unsigned *o) { DEV(d); *o = U(g, K_compute_mode); LEAVE(OK); }
API ret_t nvmlDeviceGetDisplayMode(void *d, unsigned *o) { DEV(d); *o = 0; LEAVE(OK); }
API ret_t nvmlDeviceGetDisplayActive(void *d, unsigned *o) { DEV(d); *o = 0; LEAVE(OK); }
/* ---------- ECC, row remapping ---------- */
API ret_t nvmlDeviceGetEccMode(void *d, unsigned *c, unsigned *p) { DEV(d); *c = *p = U(g, K_ecc_mode); LEAVE(OK); }
static double ecc(int g, unsigned type, unsigned counter) { return G(g, type ? (counter ? K_ecc_dbe_agg : K_ecc_dbe_vol) : (counter ? K_ecc_sbe_agg : K_ecc_sbe_vol)); }
API ret_t nvmlDeviceGetTotalEccErrors(void *d, unsigned t, unsigned c, uint64_t *o) { DEV(d); if (!U(g, K_ecc_mode)) LEAVE(E_NOTSUP); *o = ecc(g, t, c); LEAVE(OK); }
API ret_t nvmlDeviceGetMemoryErrorCounter(void *d, unsigned t, unsigned c, unsigned loc, uint64_t *o) { DEV(d); if (loc != 2 && loc != 7) LEAVE(E_NOTSUP); *o = loc == 2 ? ecc(g, t, c) : (t ? G(g, K_sram_ue_agg) : 0); LEAVE(OK); }
API ret_t nvmlDeviceGetRetiredPages(void *d, unsigned c, unsigned *n, uint64_t *a) { DEV(d); (void)c; (void)n; (void)a; LEAVE(E_NOTSUP); } /* Ampere+: rows are remapped instead */
API ret_t nvmlDeviceGetRetiredPages_v2(void *d, unsigned c, unsigned *n, uint64_t *a, uint64_t *t) { DEV(d); (void)c; (void)n; (void)a; (void)t; LEAVE(E_NOTSUP); }
API ret_t nvmlDeviceGetRetiredPagesPendingStatus(void *d, unsigned *o) { DEV(d); (void)o; LEAVE(E_NOTSUP); }
API ret_t nvmlDeviceGetRemappedRows(void *d, unsigned *c, unsigned *u, unsigned *p, unsigned *f) { DEV(d); *c = U(g, K_remap_corr); *u = U(g, K_remap_unc); *p = U(g, K_remap_pending); *f = U(g, K_remap_failed); LEAVE(OK); }
API ret_t nvmlDeviceGetRowRemapperHistogram(void *d, hist_t *o) { DEV(d); memset(o, 0, sizeof *o); o->max = 640; if (U(g, K_remap_failed)) { o->max--; o->none = 1; } LEAVE(OK); }
#ifndef FAKE_NVML_OLD
API ret_t nvmlDeviceGetSramEccErrorStatus(void *d, sram_t *o) { DEV(d); if (o->version != 0x1000068) LEAVE(E_VERSION); memset(o->c, 0, sizeof o->c); o->c[1] = G(g, K_sram_ue_agg); o->exceeded = U(g, K_sram_threshold); LEAVE(OK); }
#endif
/* ---------- PCIe, NVLink, fabric ---------- */
API ret_t nvmlDeviceGetPcieThroughput(void *d, unsigned c, unsigned *o) { DEV(d); if (c > 1) LEAVE(E_ARG); *o = U(g, c ? K_pcie_rx_kibs : K_pcie_tx_kibs); LEAVE(OK); } /* KB/s over 20 ms: the real call SLEEPS ~20 ms */
API ret_t nvmlDeviceGetPcieReplayCounter(void *d, unsigned *o) { DEV(d); *o = U(g, K_pcie_replay); LEAVE(OK); }
API ret_t nvmlDeviceGetCurrPcieLinkGeneration(void *d, unsigned *o) { DEV(d); *o = U(g, K_pcie_gen); LEAVE(OK); }
API ret_t nvmlDeviceGetCurrPcieLinkWidth(void *d, unsigned *o) { DEV(d); *o = U(g, K_pcie_width); LEAVE(OK); }
API ret_t nvmlDeviceGetMaxPcieLinkGeneration(void *d, unsigned *o) { DEV(d); *o = 5; LEAVE(OK); }
API ret_t nvmlDeviceGetMaxPcieLinkWidth(void *d, unsigned *o) { DEV(d); *o = 16; LEAVE(OK); }
API ret_t nvmlDeviceGetNvLinkState(void *d, unsigned l, unsigned *o) { DEV(d); if (!U(g, K_nvlinks)) LEAVE(E_NOTSUP); if (l >= NLINK) LEAVE(E_ARG); *o = l < U(g, K_nvlink_up); LEAVE(OK); }
API ret_t nvmlDeviceGetNvLinkVersion(void *d, unsigned l, unsigned *o) { DEV(d); if (l >= NLINK) LEAVE(E_ARG); *o = 4; LEAVE(OK); }
API ret_t nvmlDeviceGetNvLinkRemoteDeviceType(void *d, unsigned l, unsigned *o) { DEV(d); if (l >= NLINK) LEAVE(E_ARG); *o = 2; LEAVE(OK); } /* switch */
API ret_t nvmlDeviceGetNvLinkErrorCounter(void *d, unsigned l, unsigned c, uint64_t *o) { DEV(d); if (l >= NLINK) LEAVE(E_ARG); int k = c == 0 ? K_nvlink_replay : c == 1 ? K_nvlink_recovery : K_nvlink_crc; *o = l ? 0 : G(g, k); LEAVE(OK); }
API ret_t nvmlDeviceGetNvLinkUtilizationCounter(void *d, unsigned l, unsigned c, uint64_t *r, uint64_t *t) { DEV(d); (void)l; (void)c; (void)r; (void)t; LEAVE(E_NOTSUP); } /* use field values 138/139 on Ampere+ */
#ifndef FAKE_NVML_OLD
static void fab_uuid(int g, uint8_t *o) { const char *s = S->g[g].fabric_uuid; int n = 0; memset(o, 0, 16); for (; *s && n < 32; s++) { if (*s == '-') continue; int v = isdigit((unsigned char)*s) ? *s - '0' : (tolower((unsigned char)*s) - 'a' + 10) & 15; o[n / 2] |= n % 2 ? v : v << 4; n++; } }
API ret_t nvmlDeviceGetGpuFabricInfo(void *d, fab1_t *o) { DEV(d); memset(o, 0, sizeof *o); fab_uuid(g, o->uuid); o->status = U(g, K_fabric_status); o->clique = U(g, K_fabric_clique); o->state = U(g, K_fabric_state); LEAVE(OK); }
API ret_t nvmlDeviceGetGpuFabricInfoV(void *d, fab3_t *o) {
  DEV(d); if (o->version != 0x2000024 && !(o->version == 0x3000028 && U(g, K_fabric_version) >= 3)) LEAVE(E_VERSION);
  fab_uuid(g, o->uuid); o->status = U(g, K_fabric_status); o->clique = U(g, K_fabric_clique); o->state = U(g, K_fabric_state); o->health = U(g, K_fabric_health);
  if (o->version == 0x3000028) o->summary = U(g, K_fabric_summary);
  LEAVE(OK); /* writes ONE byte of state: pynvml declares c_uint there, so zero the struct first */
}
#endif
/* ---------- MIG ---------- */
API ret_t nvmlDeviceGetMigMode(void *d, unsigned *c, unsigned *p) { DEV(d); *c = *p = U(g, K_mig); LEAVE(OK); }
API ret_t nvmlDeviceGetMaxMigDeviceCount(void *d, unsigned *o) { DEV(d); *o = MAXMIG; LEAVE(OK); }
API ret_t nvmlDeviceGetMigDeviceHandleByIndex(void *d, unsigned i, void **h) { DEV(d); if (!U(g, K_mig) || i >= (unsigned)S->g[g].nm) LEAVE(i < MAXMIG ? E_NOTFOUND : E_ARG); *h = &migs[g][i]; LEAVE(OK); }
API ret_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *d, void **h) { DEV(d); if (MIGOF(d) < 0) LEAVE(E_ARG); *h = &devs[g]; LEAVE(OK); }
API ret_t nvmlDeviceIsMigDeviceHandle(void *d, unsigned *o) { DEV(d); *o = MIGOF(d) >= 0; LEAVE(OK); }
API ret_t nvmlDeviceGetGpuInstanceId(void *d, unsigned *o) { DEV(d); if (MIGOF(d) < 0) LEAVE(E_ARG); *o = S->g[g].m[MIGOF(d)].gi; LEAVE(OK); }
API ret_t nvmlDeviceGetComputeInstanceId(void *d, unsigned *o) { DEV(d); if (MIGOF(d) < 0) LEAVE(E_ARG); *o = S->g[g].m[MIGOF(d)].ci; LEAVE(OK); }
API ret_t nvmlDeviceGetAttributes_v2(void *d, attr_t *o) { DEV(d); if (MIGOF(d) < 0) LEAVE(E_NOTSUP); smig_t *m = &S->g[g].m[MIGOF(d)]; memset(o, 0, sizeof *o); o->smc = 16 * m->slices; o->ce = m->slices; o->gislices = o->cislices = m->slices; o->memMB = m->mib; LEAVE(OK); }
/* ---------- processes ---------- */
static ret_t procs(void *d, int g, unsigned *n, void *out, int v) {
  gpu_t *p = &S->g[g]; unsigned k = 0, want = 0; int mg = MIGOF(d);
  for (int i = 0; i < p->np; i++) if (mg < 0 || p->p[i].gi == p->m[mg].gi) want++;
  if (*n < want) { *n = want; return E_SIZE; }
  if (want && !out) return E_ARG;
  for (int i = 0; i < p->np; i++) if (mg < 0 || p->p[i].gi == p->m[mg].gi) {
    if (v == 1) ((proc1_t *)out)[k] = (proc1_t){ p->p[i].pid, p->p[i].mib * MIB }; else ((proc2_t *)out)[k] = (proc2_t){ p->p[i].pid, p->p[i].mib * MIB, p->p[i].gi, p->p[i].ci };
    k++;
  }
  *n = k; return OK;
}
API ret_t nvmlDeviceGetComputeRunningProcesses(void *d, unsigned *n, void *o) { DEV(d); LEAVE(procs(d, g, n, o, 1)); }
API ret_t nvmlDeviceGetComputeRunningProcesses_v2(void *d, unsigned *n, void *o) { DEV(d); LEAVE(procs(d, g, n, o, 2)); }
API ret_t nvmlDeviceGetGraphicsRunningProcesses(void *d, unsigned *n, void *o) { DEV(d); (void)o; *n = 0; LEAVE(OK); }
API ret_t nvmlDeviceGetGraphicsRunningProcesses_v2(void *d, unsigned *n, void *o) { DEV(d); (void)o; *n = 0; LEAVE(OK); }
API ret_t nvmlDeviceGetMPSComputeRunningProcesses_v2(void *d, unsigned *n, void *o) { DEV(d); (void)o; *n = 0; LEAVE(OK); }
#ifndef FAKE_NVML_OLD
API ret_t nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, void *o) { DEV(d); LEAVE(procs(d, g, n, o, 3)); }
API ret_t nvmlDeviceGetGraphicsRunningProcesses_v3(void *d, unsigned *n, void *o) { DEV(d); (void)o; *n = 0; LEAVE(OK); }
API ret_t nvmlDeviceGetMPSComputeRunningProcesses_v3(void *d, unsigned *n, void *o) { DEV(d); (void)o; *n = 0; LEAVE(OK); }
#endif
API ret_t nvmlDeviceGetProcessUtilization(void *d, putil_t *o, unsigned *n, uint64_t last) {
  DEV(d); gpu_t *p = &S->g[g]; uint64_t t = now_s() * 1e6; if (U(g, K_mig)) LEAVE(E_NOTSUP);
  if (!p->np || last >= t) { *n = 0; LEAVE(E_NOTFOUND); }
  if (!o || *n < (unsigned)p->np) { *n = p->np; LEAVE(E_SIZE); }
  for (int i = 0; i < p->np; i++) o[i] = (putil_t){ p->p[i].pid, t, p->p[i].sm, p->p[i].memu, 0, 0 };
  *n = p->np; LEAVE(OK);
}
#ifndef FAKE_NVML_OLD
API ret_t nvmlDeviceGetProcessesUtilizationInfo(void *d, putils_t *o) {
  DEV(d); gpu_t *p = &S->g[g]; if (o->version != 0x1000018) LEAVE(E_VERSION);
  if (U(g, K_mig)) LEAVE(E_NOTSUP);
  if (!p->np) { o->count = 0; LEAVE(E_NOTFOUND); }
  if (!o->arr || o->count < (unsigned)p->np) { o->count = p->np; LEAVE(E_SIZE); }
  for (int i = 0; i < p->np; i++) o->arr[i] = (putil2_t){ now_s() * 1e6, p->p[i].pid, p->p[i].sm, p->p[i].memu, 0, 0, 0, 0 };
  o->count = p->np; LEAVE(OK);
}
#endif
API ret_t nvmlDeviceGetAccountingMode(void *d, unsigned *o) { DEV(d); *o = U(g, K_accounting); LEAVE(OK); }
API ret_t nvmlDeviceSetAccountingMode(void *d, unsigned m) { DEV(d); if (geteuid()) LEAVE(E_NOPERM); S->g[g].v[K_accounting] = (num_t){ .a = m }; LEAVE(OK); }
API ret_t nvmlDeviceGetAccountingBufferSize(void *d, unsigned *o) { DEV(d); *o = 4000; LEAVE(OK); }
API ret_t nvmlDeviceGetAccountingPids(void *d, unsigned *n, unsigned *o) { DEV(d); if (!U(g, K_accounting)) LEAVE(E_NOTSUP); gpu_t *p = &S->g[g]; if (*n < (unsigned)p->np) { *n = p->np; LEAVE(E_SIZE); } for (int i = 0; i < p->np; i++) o[i] = p->p[i].pid; *n = p->np; LEAVE(OK); }
API ret_t nvmlDeviceGetAccountingStats(void *d, unsigned pid, acct_t *o) { DEV(d); gpu_t *p = &S->g[g]; for (int i = 0; i < p->np; i++) if (p->p[i].pid == pid) { memset(o, 0, sizeof *o); o->gpuUtil = p->p[i].sm; o->memUtil = p->p[i].memu; o->maxMem = p->p[i].mib * MIB; o->start = S->boot * 1e6; o->running = 1; LEAVE(OK); } LEAVE(E_NOTFOUND); }
/* ---------- events ---------- */
typedef struct { uint64_t last, mask[MAXGPU]; } set_t;
API ret_t nvmlEventSetCreate(void **o) { SYS(); load(1); set_t *s = calloc(1, sizeof *s); for (int i = 0; i < S->ne; i++) if (S->e[i].id > s->last) s->last = S->e[i].id; *o = s; LEAVE(OK); }
API ret_t nvmlEventSetFree(void *s) { free(s); return OK; }
API ret_t nvmlDeviceGetSupportedEventTypes(void *d, uint64_t *o) { DEV(d); *o = 0x1 | 0x2 | 0x4 | 0x8 | 0x10; LEAVE(OK); }
API ret_t nvmlDeviceRegisterEvents(void *d, uint64_t m, void *s) { DEV(d); ((set_t *)s)->mask[g] |= m; LEAVE(OK); }
static ret_t wait_ev(const char *fn, set_t *s, event_t *o, unsigned ms) {
  double end = now_s() + ms / 1e3;
  for (;;) {
    ret_t r = enter(fn, NULL, NULL); if (r) return r;
    sev_t *best = NULL;
    for (int i = 0; i < S->ne; i++) { sev_t *e = &S->e[i]; if (e->id > s->last && e->gpu >= 0 && e->gpu < MAXGPU && (s->mask[e->gpu] & e->type) && (!best || e->id < best->id)) best = e; }
    if (best) { s->last = best->id; memset(o, 0, sizeof *o); o->dev = &devs[best->gpu]; o->type = best->type; o->data = best->data; o->gi = best->gi; o->ci = best->ci; LEAVE(OK); }
    pthread_mutex_unlock(&mu);
    double left = end - now_s(); if (left <= 0) return E_TIMEOUT;
    double nap = fmax(poll_s(), 0.01); /* the real call sleeps in the kernel until there is an event */
    sleep_us((left < nap ? left : nap) * 1e6);
  }
}
API ret_t nvmlEventSetWait_v2(void *s, event_t *o, unsigned ms) { return wait_ev(__func__, s, o, ms); }
API ret_t nvmlEventSetWait(void *s, event_t *o, unsigned ms) { return wait_ev(__func__, s, o, ms); }
/* ---------- field values ---------- */
static int field(int g, uint32_t id, uint32_t scope, double *v, uint32_t *ty) {
  *ty = 3; integrate(g);
  if (!U(g, K_nvlinks) && (id == 91 || (id >= 138 && id <= 141) || (id >= 160 && id <= 163))) return E_NOTSUP;
  switch (id) {
    case 1: case 2: *v = U(g, K_ecc_mode); *ty = 1; return OK;
    case 3: case 11: *v = G(g, K_ecc_sbe_vol); return OK; case 4: case 12: *v = G(g, K_ecc_dbe_vol); return OK;
    case 5: case 22: *v = G(g, K_ecc_sbe_agg); return OK; case 6: case 23: *v = G(g, K_ecc_dbe_agg); return OK;
    case 38: case 45: *v = G(g, K_nvlink_crc); return OK;
    case 52: *v = G(g, K_nvlink_replay); return OK; case 59: *v = G(g, K_nvlink_recovery); return OK;
    case 160: case 161: case 162: case 163: /* scope = link; here link 0 has them all, as in nvmlDeviceGetNvLinkErrorCounter */
      if (scope >= NLINK) return E_ARG;
      *v = scope ? 0 : G(g, id == 161 ? K_nvlink_replay : id == 162 ? K_nvlink_recovery : K_nvlink_crc); return OK;
    case 74: *v = G(g, K_viol_power_ns); return OK; case 75: *v = G(g, K_viol_thermal_ns); return OK;
    case 82: *v = U(g, K_mem_temp); *ty = 1; return OK; case 83: *v = G(g, K_energy_base_mj) + acc[g][ACC_E]; return OK;
    case 90: *v = 26562; *ty = 1; return OK; case 91: *v = U(g, K_nvlinks); *ty = 1; return OK; case 94: *v = U(g, K_pcie_replay); *ty = 1; return OK;
    case 138: case 140: if (scope != ~0u && scope >= NLINK) return E_ARG; *v = acc[g][ACC_TX] / (scope == ~0u ? 1 : NLINK); return OK; /* KiB; scope = link, UINT_MAX = all */
    case 139: case 141: if (scope != ~0u && scope >= NLINK) return E_ARG; *v = acc[g][ACC_RX] / (scope == ~0u ? 1 : NLINK); return OK;
    case 142: *v = U(g, K_remap_corr); return OK; case 143: *v = U(g, K_remap_unc); return OK;
    case 144: *v = U(g, K_remap_pending); return OK; case 145: *v = U(g, K_remap_failed); return OK;
    case 147: *v = U(g, K_nvlink_up); *ty = 1; return OK;
    case 185: case 186: *v = G(g, K_power_w) * 1e3; *ty = 1; return OK;
    case 187: *v = G(g, K_power_min_w) * 1e3; *ty = 1; return OK; case 188: case 189: *v = G(g, K_power_default_w) * 1e3; *ty = 1; return OK;
    case 190: case 192: *v = G(g, K_power_limit_w) * 1e3; *ty = 1; return OK;
    case 197: *v = acc[g][ACC_PTX]; return OK; case 198: *v = acc[g][ACC_PRX]; return OK;
    case 226: case 227: case 230: *v = U(g, K_recovery_action); *ty = 1; return OK;
  }
  return E_NOTSUP;
}
API ret_t nvmlDeviceGetFieldValues(void *d, int n, field_t *f) {
  DEV(d); int64_t t = now_s() * 1e6;
  if (n <= 0) LEAVE(E_ARG); /* seen on an H100: nothing is no question */
  for (int i = 0; i < n; i++) { double v = 0; uint32_t ty = 1; f[i].rc = field(g, f[i].field, f[i].scope, &v, &ty); f[i].ts = t; f[i].latency = 1; f[i].vtype = ty; f[i].v.ull = 0; if (ty == 1) f[i].v.u = v; else f[i].v.ull = v; }
  LEAVE(OK); /* the call succeeds even when single fields fail: check each nvmlReturn */
}
/* ---------- GPM (Hopper+) ---------- */
#ifndef FAKE_NVML_OLD
typedef struct { int g; double t; } samp_t;
API ret_t nvmlGpmQueryDeviceSupport(void *d, gpm_sup_t *o) { DEV(d); if (o->version != 1) LEAVE(E_VERSION); o->supported = 1; LEAVE(OK); }
API ret_t nvmlGpmQueryIfStreamingEnabled(void *d, unsigned *o) { DEV(d); *o = 0; LEAVE(OK); }
API ret_t nvmlGpmSetStreamingEnabled(void *d, unsigned s) { DEV(d); (void)s; LEAVE(OK); }
API ret_t nvmlGpmSampleAlloc(void **o) { samp_t *s = calloc(1, sizeof *s); s->g = -1; *o = s; return OK; }
API ret_t nvmlGpmSampleFree(void *s) { free(s); return OK; }
API ret_t nvmlGpmSampleGet(void *d, void *s) { DEV(d); if (U(g, K_mig)) LEAVE(E_NOTSUP); *(samp_t *)s = (samp_t){ g, now_s() }; LEAVE(OK); }
API ret_t nvmlGpmMigSampleGet(void *d, unsigned gi, void *s) { DEV(d); (void)gi; *(samp_t *)s = (samp_t){ g, now_s() }; LEAVE(OK); }
API ret_t nvmlGpmMetricsGet(gpm_get_t *q) {
  SYS(); samp_t *a = q->s1, *b = q->s2;
  if (q->version != 1) LEAVE(E_VERSION);
  if (!a || !b || a->g < 0 || a->g != b->g || b->t <= a->t) LEAVE(E_ARG);
  if (U(a->g, K_lost)) LEAVE(E_LOST);
  static const struct { uint32_t id; int k; double scale; const char *s, *u; } T[] = {
    { 1, K_gr_active, 1, "Graphics Util", "%" }, { 2, K_sm_active, 1, "SM Util", "%" }, { 3, K_sm_occupancy, 1, "SM Occupancy", "%" }, { 4, K_int_active, 1, "Integer Util", "%" },
    { 5, K_tensor, 1, "Any Tensor Util", "%" }, { 7, K_tensor, 1, "HMMA Tensor Util", "%" }, { 10, K_dram, 1, "DRAM BW Util", "%" }, { 11, K_fp64, 1, "FP64 Util", "%" }, { 12, K_fp32, 1, "FP32 Util", "%" },
    { 13, K_fp16, 1, "FP16 Util", "%" }, { 20, K_pcie_tx_kibs, 1 / 1024., "PCIe TX", "MiB/s" }, { 21, K_pcie_rx_kibs, 1 / 1024., "PCIe RX", "MiB/s" }, { 60, K_nvlink_rx_mibs, 1, "NVLink RX", "MiB/s" }, { 61, K_nvlink_tx_mibs, 1, "NVLink TX", "MiB/s" } };
  for (unsigned i = 0; i < q->n; i++) {
    gpm_metric_t *m = &q->m[i]; m->rc = OK; m->value = 0; /* seen on an H100: what it does not count is 0, without an error, */ m->sname = m->lname = m->unit = "";
    for (unsigned j = 0; j < sizeof T / sizeof *T; j++) if (T[j].id == m->id && b->t - a->t >= 0.05 && (U(a->g, K_nvlinks) || m->id < 60)) { /* and so is what was counted over a moment */ m->rc = OK; m->sname = m->lname = T[j].s; m->unit = T[j].u; m->value = 0; for (int k = 0; k < 8; k++) m->value += eval(&S->g[a->g].v[T[j].k], a->g, T[j].k, a->t + (b->t - a->t) * (k + .5) / 8) * T[j].scale / 8; if (m->value < 0) m->value = 0; }
  }
  LEAVE(OK);
}
#endif
