import Foundation
import MachineEvents
import PagingUnits
import Testing

@testable import Reports

/// One line of a trace file taken apart.
private struct SampleLine {
  let text: String
  let prefix: TracepointPrefix
  let name: String
  /// What follows the name, by spaces.
  let words: [String]

  init?(_ line: String) {
    text = line
    let pattern = /\ *(\w+)-(\d+) +\[(\d+)\] \.\.\.(.)\. +(\d+)\.(\d+): (\w+): (.*)/
    guard let match = line.wholeMatch(of: pattern) else { return nil }
    guard let number = UInt64(match.2), let processor = UInt64(match.3),
      let seconds = UInt64(match.5), let fraction = UInt64(match.6)
    else { return nil }
    prefix = TracepointPrefix(
      task: String(match.1), taskNumber: number, processor: processor,
      preemptionDepth: UInt8(String(match.4)) ?? 0, microseconds: seconds * 1_000_000 + fraction)
    name = String(match.7)
    words = match.8.split(separator: " ").map(String.init)
  }

  /// The hexadecimal number after `label`.
  func hex(_ label: String) -> UInt64? {
    words.firstIndex(of: label).flatMap { UInt64(words[$0 + 1], radix: 16) }
  }

  /// The decimal number after `label`.
  func decimal(_ label: String) -> UInt64? {
    words.firstIndex(of: label).flatMap { UInt64(words[$0 + 1]) }
  }

  func level(_ label: String = "level") -> Level? { decimal(label).map { Level(Int($0)) } }

  /// The shadow page that the words describe.
  var shadowPage: ShadowPageRecord? {
    guard let frame = hex("gfn"), let generation = decimal("gen"), let root = decimal("root"),
      let depth = words.first(where: { $0.hasPrefix("l") })?.dropFirst(),
      let role = UInt32(depth)
    else { return nil }
    let access = words.first { $0.count == 3 && Set($0).isSubset(of: "wux-") } ?? "---"
    var word = role
    if words.contains("4-byte") { word |= 1 << 4 }
    if access.contains("x") { word |= 1 << 8 }
    if access.contains("w") { word |= 1 << 9 }
    if access.contains("u") { word |= 1 << 10 }
    if words.contains("direct") { word |= 1 << 7 }
    if words.contains("nxe") { word |= 1 << 12 }
    if words.contains("!ad") { word |= 1 << 16 }
    return ShadowPageRecord(
      generation: UInt8(generation), frame: GuestFrame(frame), role: word,
      rootCount: UInt32(root), unsync: words.contains("unsync"))
  }

  /// The rights in parentheses.
  var rights: SPTERights {
    let letters = words.first { $0.hasPrefix("(") } ?? ""
    var rights: SPTERights = []
    if letters.contains("r") { rights.insert(.read) }
    if letters.contains("w") { rights.insert(.write) }
    if letters.contains("x") { rights.insert(.execute) }
    if letters.contains("u") { rights.insert(.user) }
    return rights
  }

  /// The event that the line tells of; `nil` when the machine has no such event.
  var event: MachineEvent? {
    switch name {
    case "kvm_mmu_pagetable_walk":
      guard let address = hex("addr"), let code = hex("pferr") else { return nil }
      return .pagetableWalk(address: address, errorCode: UInt32(code))
    case "kvm_mmu_paging_element":
      guard let entry = hex("pte"), let depth = decimal("level") else { return nil }
      return .pagingElement(entry: entry, depth: UInt32(depth))
    case "kvm_mmu_set_accessed_bit": return hex("gpa").map { .setAccessedBit(GuestPhysical($0)) }
    case "kvm_mmu_set_dirty_bit": return hex("gpa").map { .setDirtyBit(GuestPhysical($0)) }
    case "kvm_mmu_walker_error": return hex("pferr").map { .walkerError(errorCode: UInt32($0)) }
    case "kvm_mmu_get_page":
      return shadowPage.map { .getPage($0, words.last == "new" ? .new : .existing) }
    case "kvm_mmu_prepare_zap_page": return shadowPage.map { .prepareZapPage($0) }
    case "kvm_mmu_sync_page": return shadowPage.map { .syncPage($0) }
    case "kvm_mmu_unsync_page": return shadowPage.map { .unsyncPage($0) }
    case "kvm_mmu_spte_requested":
      guard let guest = hex("gfn"), let host = hex("pfn"), let level = level() else { return nil }
      return .spteRequested(GuestFrame(guest), HostFrame(host), level)
    case "kvm_mmu_set_spte":
      guard let frame = hex("gfn"), let spte = hex("spte"), let place = hex("at"),
        let level = level()
      else { return nil }
      return .setSPTE(
        GuestFrame(frame), spte: spte, level, at: HostPhysical(place), rights)
    case "kvm_inj_exception":
      guard words.first == "#PF", let code = words.last?.dropFirst(3).dropLast() else { return nil }
      return UInt32(code, radix: 16).map { .injectException(vector: 14, errorCode: $0) }
    default: return nil
    }
  }
}

@Suite("Tracepoints print as the kernel prints them")
struct TracepointSampleTests {
  private func sample() throws -> [SampleLine] {
    let url = try #require(
      Bundle.module.url(
        forResource: "kvm-tracepoints-sample", withExtension: "txt", subdirectory: "Resources"))
    let text = try String(contentsOf: url, encoding: .utf8)
    return try text.split(separator: "\n").map { try #require(SampleLine(String($0))) }
  }

  @Test("every real line of an event that the machine has is printed byte for byte")
  func realLines() throws {
    var covered = 0
    for line in try sample() {
      guard let event = line.event else {
        #expect(line.name == "kvm_emulate_insn", "no event was made of: \(line.text)")
        continue
      }
      covered += 1
      var text = TextBuffer()
      TracepointText().writeLine(event, at: line.prefix, to: &text)
      #expect(text.text == line.text + "\n")
    }
    #expect(covered == 28)
  }
}
