import MachineEvents
import PagingUnits
import Reports
import Testing

/// An event and the text that KVM prints for it.
private struct Example: Sendable {
  let event: MachineEvent
  let text: String
  var vendor = TracepointText.Vendor.intel
}

private let examples: [Example] = [
  Example(
    event: .pageFault(vcpu: 1, rip: 0x1000, address: 0xFEE0_0000, errorCode: 0x181),
    text: "vcpu 1 rip 0x1000 address 0x00000000fee00000 error_code 0x181"),
  Example(
    event: .exit(vcpu: 2, .eptViolation, rip: 0xFFF0, info1: 0x184, info2: 0),
    text: "vcpu 2 reason EPT_VIOLATION rip 0xfff0 info1 0x0000000000000184 "
      + "info2 0x0000000000000000 intr_info 0x00000000 error_code 0x00000000"),
  Example(
    event: .exit(vcpu: 0, .nestedPageFault, rip: 0, info1: 4, info2: 0x8000),
    text: "vcpu 0 reason npf rip 0x0 info1 0x0000000000000004 "
      + "info2 0x0000000000008000 intr_info 0x00000000 error_code 0x00000000", vendor: .amd),
  Example(
    event: .exit(vcpu: 0, .halt, rip: 0, info1: 0, info2: 0),
    text: "vcpu 0 reason hlt rip 0x0 info1 0x0000000000000000 "
      + "info2 0x0000000000000000 intr_info 0x00000000 error_code 0x00000000", vendor: .amd),
  Example(event: .entry(vcpu: 3, rip: 0x10_0000), text: "vcpu 3, rip 0x100000"),
  Example(event: .controlWrite(register: 3, value: 0x1000), text: "cr_write 3 = 0x1000"),
  Example(event: .injectException(vector: 6, errorCode: nil), text: "#UD"),
  Example(event: .injectException(vector: 13, errorCode: 0), text: "#GP (0x0)"),
  Example(event: .injectException(vector: 32, errorCode: nil), text: "0x20"),
  Example(
    event: .mmio(.unsatisfiedRead, length: 4, GuestPhysical(0xFEE0_0020), value: 0),
    text: "mmio unsatisfied-read len 4 gpa 0xfee00020 val 0x0"),
  Example(
    event: .mmio(.write, length: 8, GuestPhysical(0xD000_0000), value: 0xABCD),
    text: "mmio write len 8 gpa 0xd0000000 val 0xabcd"),
  Example(
    event: .unmapRange(HostVirtual(0x7F00_0000_0000), HostVirtual(0x7F00_0000_1000)),
    text: "mmu notifier unmap range: 0x007f0000000000 -- 0x007f0000001000"),
  Example(
    event: .ageRange(HostVirtual(0x1000), HostVirtual(0x2000)),
    text: "mmu notifier age hva: 0x00000000001000 -- 0x00000000002000"),
  Example(
    event: .testAge(HostVirtual(0x1000)), text: "mmu notifier test age hva: 0x00000000001000"),
  Example(
    event: .tdpSPTEChanged(space: 1, GuestFrame(0x123), .page2M, old: 0x5A0, new: 0x8B7),
    text: "as id 1 gfn 123 level 2 old_spte 5a0 new_spte 8b7"),
  Example(
    event: .splitHugePage(GuestFrame(0x200), spte: 0xFF, .page2M, errno: -12),
    text: "gfn 200 spte ff level 2 errno -12"),
  Example(
    event: .fastPageFault(
      vcpu: 0, address: 0x4000, errorCode: 3, at: HostPhysical(0x1234_5678), old: 0x11,
      new: 0x13, outcome: 5),
    text: "vcpu 0 gva 4000 error_code P|W sptep 0000000012345678 old 0x11 new 13 "
      + "spurious 0 fixed 1"),
  Example(
    event: .fastPageFault(
      vcpu: 1, address: 0, errorCode: 0, at: HostPhysical(0), old: 0, new: 0, outcome: 6),
    text: "vcpu 1 gva 0 error_code  sptep 0000000000000000 old 0x0 new 0 spurious 1 fixed 0"),
  Example(
    event: .markMMIO(at: HostPhysical(0x7008), GuestFrame(0xFEE00), access: 6, generation: 0x1A),
    text: "sptep:0000000000007008 gfn fee00 access 6 gen 1a"),
  Example(
    event: .handleMMIO(address: 0xFEE0_0030, GuestFrame(0xFEE00), access: 6),
    text: "addr:fee00030 gfn fee00 access 6"),
  Example(
    event: .checkMMIO(spte: 0x8000, machineGeneration: 2, entryGeneration: 2),
    text: "spte 8000 kvm_gen 2 spte-gen 2 valid 1"),
  Example(
    event: .checkMMIO(spte: 0x8000, machineGeneration: 4, entryGeneration: 2),
    text: "spte 8000 kvm_gen 4 spte-gen 2 valid 0"),
  Example(
    event: .zapAllFast(generation: 1, usedPages: 0x20),
    text: "kvm-mmu-valid-gen 1 used_pages 20"),
  Example(
    event: .getPage(
      ShadowPageRecord(
        generation: 1, frame: GuestFrame(0x30),
        role: 2 | 1 << 4 | 2 << 5 | 1 << 7 | 1 << 11 | 1 << 16, rootCount: 2, unsync: false),
      .existing),
    text: "sp gen 1 gfn 30 l2 4-byte q2 direct --- invalid !nxe !ad root 2 sync existing"),
]

@Suite("Tracepoint texts")
struct TracepointTextTests {
  @Test("each event has KVM's text", arguments: examples.indices)
  func texts(index: Int) {
    let example = examples[index]
    var text = TextBuffer(capacity: 1)
    TracepointText(example.vendor).write(example.event, to: &text)
    #expect(text.text == example.text)
  }

  @Test("error flags stand in KVM's order, and what has no name is hexadecimal", arguments: 0..<128)
  func errorFlags(code: UInt64) {
    let names = ["P", "W", "U", "RSVD", "F"]
    var parts = names.indices.filter { code >> UInt64($0) & 1 == 1 }.map { names[$0] }
    if code >> 5 != 0 { parts.append("0x" + String(code & ~31, radix: 16)) }
    var text = TextBuffer()
    text.appendErrorFlags(code)
    #expect(text.text == parts.joined(separator: "|"))
  }

  @Test("a prefix without preemption, of a long-lived task on a far processor")
  func prefix() {
    var text = TextBuffer()
    TracepointPrefix(
      task: "CPU 0/KVM", taskNumber: 1_234_567, processor: 127, microseconds: 7
    ).write(to: &text)
    #expect(text.text == "        CPU 0/KVM-1234567 [127] .....     0.000007: ")
  }
}
