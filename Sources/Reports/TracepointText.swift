public import MachineEvents
import PagingUnits

/// Writes machine events as KVM's own tracepoints print them, so that tools made for `trace-cmd`
/// reports read them.
///
/// The texts are those of Linux 6.12.
public struct TracepointText: Sendable {
  /// Whose names exit reasons have.
  public enum Vendor: UInt8, Hashable, Sendable, CaseIterable {
    /// VMX.
    case intel
    /// SVM.
    case amd
  }

  /// Whose names exit reasons have.
  public var vendor: Vendor

  /// Texts for a machine of `vendor`.
  public init(_ vendor: Vendor = .intel) { self.vendor = vendor }

  /// Writes a whole line of a trace file and ends it.
  public func writeLine(
    _ event: MachineEvent, at prefix: TracepointPrefix, to text: inout TextBuffer
  ) {
    prefix.write(to: &text)
    text.append(event.tracepointName)
    text.append(": ")
    write(event, to: &text)
    text.endLine()
  }

  /// Writes the text that follows the tracepoint's name.
  public func write(_ event: MachineEvent, to text: inout TextBuffer) {
    switch event {
    case .getPage, .prepareZapPage, .syncPage, .unsyncPage, .zapAllFast:
      text.appendShadowPageEvent(event)
    case .pagetableWalk, .pagingElement, .setAccessedBit, .setDirtyBit, .walkerError:
      text.appendWalkEvent(event)
    case .spteRequested, .setSPTE, .tdpSPTEChanged, .fastPageFault, .splitHugePage, .markMMIO,
      .handleMMIO, .checkMMIO:
      text.appendEntryEvent(event)
    case .pageFault, .mmio, .injectException, .unmapRange, .ageRange, .testAge, .exit, .entry,
      .controlWrite:
      text.appendMachineEvent(event, vendor)
    }
  }
}

extension MachineEvent {
  /// The tracepoint's name in the kernel.
  public var tracepointName: StaticString {
    switch self {
    case .pageFault: "kvm_page_fault"
    case .spteRequested: "kvm_mmu_spte_requested"
    case .setSPTE: "kvm_mmu_set_spte"
    case .tdpSPTEChanged: "kvm_tdp_mmu_spte_changed"
    case .getPage: "kvm_mmu_get_page"
    case .prepareZapPage: "kvm_mmu_prepare_zap_page"
    case .syncPage: "kvm_mmu_sync_page"
    case .unsyncPage: "kvm_mmu_unsync_page"
    case .zapAllFast: "kvm_mmu_zap_all_fast"
    case .markMMIO: "mark_mmio_spte"
    case .handleMMIO: "handle_mmio_page_fault"
    case .checkMMIO: "check_mmio_spte"
    case .fastPageFault: "fast_page_fault"
    case .splitHugePage: "kvm_mmu_split_huge_page"
    case .pagetableWalk: "kvm_mmu_pagetable_walk"
    case .pagingElement: "kvm_mmu_paging_element"
    case .setAccessedBit: "kvm_mmu_set_accessed_bit"
    case .setDirtyBit: "kvm_mmu_set_dirty_bit"
    case .walkerError: "kvm_mmu_walker_error"
    case .mmio: "kvm_mmio"
    case .injectException: "kvm_inj_exception"
    case .unmapRange: "kvm_unmap_hva_range"
    case .ageRange: "kvm_age_hva"
    case .testAge: "kvm_test_age_hva"
    case .exit: "kvm_exit"
    case .entry: "kvm_entry"
    case .controlWrite: "kvm_cr"
    }
  }
}

/// One conversion of a tracepoint's format, with the words before it.
extension TextBuffer {
  /// Writes `label` and `value` as `%llx`.
  mutating func field(_ label: StaticString, hex value: UInt64) {
    append(label)
    appendHex(value)
  }

  /// Writes `label` and `value` as `0x%llx`, with at least `digits` digits.
  mutating func field(_ label: StaticString, prefixed value: UInt64, digits: Int = 1) {
    append(label)
    appendPrefixedHex(value, digits: digits)
  }

  /// Writes `label` and `value` as `%u`.
  mutating func field(_ label: StaticString, _ value: UInt64) {
    append(label)
    appendDecimal(value)
  }

  /// Writes `label` and an address as `%p` prints one: 16 digits without a prefix.
  mutating func field(_ label: StaticString, pointer value: HostPhysical) {
    append(label)
    appendHex(value.raw, digits: 16)
  }
}
