// A device that is not there. Its memory is the host's and its kernels are the CPU's, yet it is not the CPU: an
// operation that mixes its tensors with the CPU's is refused as on a GPU, generators belong to one device, and whatever
// would make a GPU and its host wait for each other is counted. Nothing is copied on the way to a kernel.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_local_scalar_dense_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <array>
#include <atomic>

namespace {

using at::Tensor;
using c10::OperatorHandle;
using torch::jit::Stack;

constexpr auto kPhantom = c10::DeviceType::PrivateUse1;
const c10::Device kDevice(kPhantom, 0);
const c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

bool on_phantom(const Tensor& t) { return t.defined() && t.device().type() == kPhantom; }

// ---- what is counted ----

// Copies in each direction; numbers that Python asks for (`item`); and kernels whose result has a size that the host
// has to wait for (`nonzero`, `unique`, indexing by a mask), which on a GPU is a copy to the host too.
enum Counter { kToDevice, kToHost, kItems, kSizes, kNumCounters };
std::array<std::atomic<int64_t>, kNumCounters> g_counters{};
void count(Counter which) { g_counters[which].fetch_add(1); }

std::vector<int64_t> counters() { return {g_counters.begin(), g_counters.end()}; }

// ---- memory ----

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* data = c10::alloc_cpu(size);
    return {data, data, &c10::free_cpu, kDevice};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &c10::free_cpu; }
  void copy_data(void* to, const void* from, std::size_t size) const final { default_copy_data(to, from, size); }
};
Allocator g_allocator;
REGISTER_ALLOCATOR(kPhantom, &g_allocator);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kPhantom; }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

// A tensor over another's memory, seen from `device`; it keeps that memory alive.
Tensor seen_from(const Tensor& t, c10::Device device, c10::Allocator* allocator) {
  auto* owner = new c10::Storage(t.storage());
  c10::DataPtr data(owner->mutable_data(), owner, [](void* o) { delete static_cast<c10::Storage*>(o); }, device);
  c10::Storage storage(c10::Storage::use_byte_size_t(), owner->nbytes(), std::move(data), allocator, true);
  auto keys = device.is_cpu() ? c10::DispatchKeySet(c10::DispatchKey::CPU) : kKeys;
  Tensor seen = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, t.dtype());
  seen.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
  return seen;
}
Tensor host(const Tensor& t) { return on_phantom(t) ? seen_from(t, c10::kCPU, c10::GetCPUAllocator()) : t; }
Tensor device(const Tensor& t) { return t.defined() ? seen_from(t, kDevice, &g_allocator) : t; }

// ---- random numbers ----

// The same seed gives other numbers than on the CPU, as it does on a GPU.
struct PhantomGenerator final : c10::GeneratorImpl {
  PhantomGenerator() : GeneratorImpl(kDevice, kKeys), host(at::detail::createCPUGenerator()) {
    set_current_seed(c10::default_rng_seed_val);
  }
  void set_current_seed(uint64_t seed) override {
    asked = seed;
    host.set_current_seed(seed ^ 0x9E3779B97F4A7C15);
  }
  uint64_t current_seed() const override { return asked; }
  uint64_t seed() override {
    set_current_seed(c10::detail::getNonDeterministicRandom());
    return asked;
  }
  void set_offset(uint64_t) override { TORCH_CHECK(false, "the phantom device's generators have no offset"); }
  uint64_t get_offset() const override { TORCH_CHECK(false, "the phantom device's generators have no offset"); }
  void set_state(const c10::TensorImpl& state) override { host.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return host.unsafeGetGeneratorImpl()->get_state(); }
  PhantomGenerator* clone_impl() const override {
    auto* copy = new PhantomGenerator();
    copy->asked = asked;
    copy->host = host.clone();
    return copy;
  }
  uint64_t asked = 0;
  at::Generator host;
};
at::Generator g_generator = at::make_generator<PhantomGenerator>();

at::Generator host_generator(const std::optional<at::Generator>& own, const std::string& op) {
  const at::Generator& generator = own.has_value() && own->defined() ? *own : g_generator;
  TORCH_CHECK(generator.device().type() == kPhantom, "Expected a 'phantom' device type for generator but found '",
              generator.device().type(), "' in ", op);
  return static_cast<PhantomGenerator*>(generator.unsafeGetGeneratorImpl())->host;
}

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return g_generator; }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::make_generator<PhantomGenerator>(); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
  c10::Device getDeviceFromPtr(void*) const override { return kDevice; }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t size) const override {
    at::native::resize_bytes_cpu(storage.unsafeGetStorageImpl(), size);
  }
};
Hooks g_hooks;

// ---- every kernel: the CPU's, on the same memory ----

// Applies `f` to each tensor of a value of a kernel's stack.
template <typename F>
c10::IValue map_tensors(const c10::IValue& value, const F& f) {
  if (value.isTensor()) return f(value.toTensor());
  if (value.isTensorList()) {
    c10::List<Tensor> mapped;
    for (const Tensor& t : value.toTensorList()) mapped.push_back(f(t));
    return mapped;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> mapped;
    for (const std::optional<Tensor> t : value.toOptionalTensorList())
      mapped.push_back(t.has_value() ? std::optional<Tensor>(f(*t)) : std::nullopt);
    return mapped;
  }
  return value;
}

void refuse_mixture_if(bool mixed, const std::string& op) {
  TORCH_CHECK(!mixed, "Expected all tensors to be on the same device, but found at least two devices, phantom:0 and ",
              "cpu! (", op, ")");
}

void refuse_mixture(const OperatorHandle& op, const std::vector<c10::IValue>& arguments) {
  bool phantom = false, cpu = false;
  for (const auto& argument : arguments)
    map_tensors(argument, [&](const Tensor& t) {
      phantom |= on_phantom(t);
      cpu |= t.defined() && t.device().is_cpu() && t.dim() > 0;  // a number on the CPU goes along with a kernel
      return t;
    });
  refuse_mixture_if(phantom && cpu, op.schema().name());
}

// A CPU kernel that changed the size of an argument did so to the host's view of it.
void take_size(const Tensor& original, const Tensor& seen) {
  if (original.sizes() == seen.sizes() && original.const_data_ptr() == seen.const_data_ptr()) return;
  original.resize_(seen.sizes());
  host(original).copy_(seen);
}

void run_on_host(const OperatorHandle& op, Stack* stack) {
  const auto& schema = op.schema();
  const size_t num_arguments = schema.arguments().size();
  auto arguments = torch::jit::pop(*stack, num_arguments);
  std::vector<std::pair<Tensor, Tensor>> seen;  // each argument and the host's view of it
  auto to_host = [&](const Tensor& t) {
    if (on_phantom(t)) seen.emplace_back(t, host(t));
    return on_phantom(t) ? seen.back().second : t;
  };
  for (size_t i = 0; i < num_arguments; ++i) {
    const auto& argument = arguments[i];
    const bool generator = schema.arguments()[i].name() == "generator";
    if (generator)
      torch::jit::push(*stack, host_generator(argument.toOptional<at::Generator>(), schema.name()));
    else if (argument.isDevice())
      torch::jit::push(*stack, c10::Device(c10::kCPU));
    else
      torch::jit::push(*stack, map_tensors(argument, to_host));
  }
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  auto to_device = [&](const Tensor& t) {
    if (!t.defined()) return t;
    for (const auto& [original, view] : seen) {
      if (t.is_same(view)) return original;  // written in place
      if (t.has_storage() && t.storage().is_alias_of(view.storage())) {  // a view of it
        Tensor alias = at::native::alias(original);
        alias.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
        return alias;
      }
    }
    return device(t);
  };
  auto results = torch::jit::pop(*stack, schema.returns().size());
  for (const auto& [original, view] : seen) take_size(original, view);
  for (const auto& result : results) torch::jit::push(*stack, map_tensors(result, to_device));
}

void kernel(const OperatorHandle& op, Stack* stack) {
  refuse_mixture(op, torch::jit::last(*stack, op.schema().arguments().size()).vec());
  run_on_host(op, stack);
}

// Kernels whose result has a size that depends on the values: the host waits for it.
void sized_by_values(const OperatorHandle& op, Stack* stack) {
  count(kSizes);
  kernel(op, stack);
}

void repeat_interleave(const OperatorHandle& op, Stack* stack) {
  const bool told = !torch::jit::peek(*stack, 1, 2).isNone();
  if (!told) count(kSizes);
  kernel(op, stack);
}

// Indexing takes indices from the host and brings them over; a mask has to be counted first.
void indexed(const OperatorHandle& op, Stack* stack) {
  const auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
  const Tensor self = arguments[0].toTensor();
  TORCH_CHECK(on_phantom(self), "indices should be either on cpu or on the same device as the indexed tensor (cpu)");
  bool masked = false, all_masks = true;
  for (const std::optional<Tensor> index : arguments[1].toOptionalTensorList()) {
    if (!index.has_value() || !index->defined()) continue;
    const bool mask = index->scalar_type() == at::kBool || index->scalar_type() == at::kByte;
    masked |= mask;
    all_masks &= mask;
    if (!on_phantom(*index)) count(kToDevice);
  }
  const bool puts = arguments.size() > 2;
  if (puts) {
    const Tensor values = arguments[2].toTensor();
    refuse_mixture_if(!on_phantom(values) && values.dim() > 0, op.schema().name());
    masked &= !(all_masks && values.numel() == 1 && !arguments[3].toBool());  // becomes a masked_fill
  }
  if (masked) count(kSizes);
  run_on_host(op, stack);
}

// ---- kernels that are the device's own ----

using Dtype = std::optional<at::ScalarType>;
using AnyLayout = std::optional<at::Layout>;
using AnyDevice = std::optional<c10::Device>;
using Pinned = std::optional<bool>;

Tensor empty(at::IntArrayRef size, Dtype dtype, AnyLayout, AnyDevice, Pinned, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &g_allocator, kKeys, c10::dtype_or_default(dtype), format);
}
Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, Dtype dtype, AnyLayout, AnyDevice, Pinned) {
  return at::detail::empty_strided_generic(size, stride, &g_allocator, kKeys, c10::dtype_or_default(dtype));
}
Tensor& set_storage(Tensor& self, c10::Storage source) {
  const int64_t length = source.nbytes() / self.dtype().itemsize();
  return at::native::set_storage_cpu_(self, source, 0, {length}, {});
}
Tensor copy_from(const Tensor& self, const Tensor& to, bool) {
  if (on_phantom(self) != on_phantom(to)) count(on_phantom(to) ? kToDevice : kToHost);
  host(to).copy_(host(self));
  return to;
}
Tensor copy_from_and_resize(const Tensor& self, const Tensor& to) {
  to.resize_(self.sizes());
  return copy_from(self, to, false);
}
at::Scalar item(const Tensor& self) {
  count(kItems);
  return at::native::_local_scalar_dense_cpu(host(self));
}

// A GPU has one kernel for a GRU's cell, and PyTorch asks every device that is not the CPU for it. Gates are stacked as
// reset, update, new: n = tanh(i_n + r h_n), h' = n + z (h - n).
using Bias = std::optional<Tensor>;
using Five = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

std::tuple<Tensor, Tensor> gru_cell(const Tensor& from_input, const Tensor& from_hidden, const Tensor& before,
                                    const Bias& input_bias, const Bias& hidden_bias) {
  auto biased = [](const Tensor& gates, const Bias& bias) {
    return (bias.has_value() && bias->defined() ? host(gates) + host(*bias) : host(gates)).chunk(3, -1);
  };
  const auto i = biased(from_input, input_bias), h = biased(from_hidden, hidden_bias);
  const Tensor reset = (i[0] + h[0]).sigmoid(), update = (i[1] + h[1]).sigmoid();
  const Tensor fresh = (i[2] + reset * h[2]).tanh();
  const Tensor kept = at::cat({reset, update, fresh, host(before), h[2]}, -1);
  return {device(fresh + update * (host(before) - fresh)), device(kept)};
}
Five gru_cell_backward(const Tensor& grad_after, const Tensor& kept, bool has_bias) {
  const Tensor grad = host(grad_after);
  const auto part = host(kept).chunk(5, -1);
  const Tensor &reset = part[0], &update = part[1], &fresh = part[2], &before = part[3], &hidden = part[4];
  const Tensor to_fresh = grad * (1 - update) * (1 - fresh * fresh);
  const Tensor to_update = grad * (before - fresh) * update * (1 - update);
  const Tensor to_reset = to_fresh * hidden * reset * (1 - reset);
  const Tensor to_input = at::cat({to_reset, to_update, to_fresh}, -1);
  const Tensor to_hidden = at::cat({to_reset, to_update, to_fresh * reset}, -1);
  auto bias = [&](const Tensor& gates) { return has_bias ? device(gates.sum(0)) : Tensor(); };
  return {device(to_input), device(to_hidden), device(grad * update), bias(to_input), bias(to_hidden)};
}

// ---- what Python asks for ----

void seed(int64_t value) { g_generator.set_current_seed(static_cast<uint64_t>(value)); }
Tensor rng_state() { return g_generator.get_state(); }
void set_rng_state(const Tensor& state) { g_generator.set_state(state); }

}  // namespace

TORCH_LIBRARY(phantom, m) {
  at::RegisterPrivateUse1HooksInterface(&g_hooks);
  m.def("counters() -> int[]", &counters);
  m.def("seed(int value) -> ()", &seed);
  m.def("rng_state() -> Tensor", &rng_state);
  m.def("set_rng_state(Tensor state) -> ()", &set_rng_state);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&kernel>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("alias", &at::native::alias);
  m.impl("view_as_real", &at::native::view_as_real);
  m.impl("view_as_complex", &at::native::view_as_complex);
  m.impl("resize_", &at::native::resize_);
  m.impl("set_.source_Storage_storage_offset", &at::native::set_storage_cpu_);
  m.impl("set_.source_Storage", &set_storage);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &item);
  m.impl("_thnn_fused_gru_cell", &gru_cell);
  m.impl("_thnn_fused_gru_cell_backward", &gru_cell_backward);
  for (const char* name : {"convolution", "convolution_backward"})  // else PyTorch asks for kernels by other names
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&kernel>());
  for (const char* name : {"index.Tensor", "_index_put_impl_"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&indexed>());
  for (const char* name : {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive",
                           "unique_dim_consecutive", "bincount", "equal"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&sized_by_values>());
  m.impl("repeat_interleave.Tensor", torch::CppFunction::makeFromBoxedFunction<&repeat_interleave>());
}

#define LOWER_PRECISION(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, lower_precision_fp)
#define FLOAT32(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32)
TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) { m.fallback(torch::CppFunction::makeFallthrough()); }
TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  AT_FORALL_LOWER_PRECISION_FP(LOWER_PRECISION)
  AT_FORALL_FP32(FLOAT32)
}
