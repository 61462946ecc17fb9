import EventSources
import PagingUnits
import Reports
import X86Paging

/// What came of translating an address.
enum Translation {
  /// It leads to a page.
  case mapped(MappingReport)
  /// It leads nowhere.
  case fault(FaultReport)
}

/// One address space of an image: its tables, and the registers by which they are walked.
struct GuestView {
  private(set) var memory: LayeredImage
  private(set) var registers: ControlRegisters
  let rules: WalkRules

  /// An address space; the PDPTE registers of PAE paging are loaded from the image.
  init(
    _ memory: LayeredImage, _ registers: ControlRegisters, _ features: PagingFeatures
  ) throws {
    self.memory = memory
    var registers = registers
    rules = WalkRules(registers, features: features)
    if rules.hasPDPTERegisters {
      let place = "CR3 0x" + String(registers.cr3, radix: 16)
      switch rules.loadPDPTEs(cr3: registers.cr3, in: &self.memory) {
      case .loaded(let values): registers.pdptes = values
      case .reservedBit(let index):
        throw Failure("\(place): PDPTE \(index) has a reserved bit set, a processor refuses it")
      case .absent: throw Failure("\(place): the four PDPTEs are outside the image")
      case .refused: throw Failure("\(place): the second dimension refuses the four PDPTEs")
      }
    }
    self.registers = registers
  }

  /// Walks the tables for one access.
  mutating func walk(_ address: GuestVirtual, _ access: Access) -> GuestWalk {
    registers.ac = access.isExemptFromSMAP
    return rules.walk(
      address, access.kind, by: access.privilege, registers, marking: .report, in: &memory)
  }

  /// Translates one address.
  mutating func translate(_ address: GuestVirtual, _ access: Access) -> Translation {
    // In two steps: within one expression the report would see the view as it was before the walk.
    let walk = walk(address, access)
    return report(walk, of: address)
  }

  /// A walk's outcome as a report.
  func report(_ walk: GuestWalk, of address: GuestVirtual) -> Translation {
    guard rules.requiresCanonical || address.raw >> 32 == 0 else {
      return .fault(FaultReport(linear: address, code: [], reason: .beyondMode))
    }
    switch walk.outcome {
    case .mapped(let mapping): return .mapped(MappingReport(address, mapping, rules.format))
    case .nonCanonical:
      return .fault(FaultReport(linear: address, code: [], reason: .nonCanonical))
    case .fault(let fault): return .fault(report(fault, walk.path, of: address))
    case .refused: return .fault(refusalReport(of: address))
    case .contended: preconditionFailure("nobody changes an image under a walk")
    }
  }

  private func report(
    _ fault: WalkFault, _ path: WalkPath, of address: GuestVirtual
  ) -> FaultReport {
    guard fault.cause == .absentTable else {
      return FaultReport(
        linear: address, code: fault.code, reason: .tables(fault.cause, fault.level))
    }
    let pointer = path.lowest.flatMap { path[$0]?.entry } ?? registers.cr3
    let table = GuestPhysical(pointer & rules.format.frameMask)
    return FaultReport(
      linear: address, code: fault.code, reason: .tableOutside(table, fault.level))
  }

  /// The report of an address that the second dimension refused.
  private func refusalReport(of address: GuestVirtual) -> FaultReport {
    guard let refusal = memory.refusal, case .fault(let fault) = refusal.walk.outcome else {
      preconditionFailure("a refusing second dimension says why")
    }
    return FaultReport(
      linear: address, code: fault.code, reason: .secondDimension(refusal.address, fault.cause))
  }

  /// The walk of the second dimension for the address of an entry; `nil` without one.
  mutating func walkForEntry(_ address: GuestPhysical) -> GuestWalk? {
    memory.walkForEntry(address)
  }

  /// The walk of the second dimension for the address of a byte; `nil` without one.
  mutating func walkForPage(_ address: GuestPhysical, _ kind: AccessKind) -> GuestWalk? {
    memory.walkForPage(address, kind)
  }

  /// The next page of `cursor`.
  mutating func next(after cursor: inout MappingCursor) -> MappingCursor.Page? {
    cursor.next(in: &memory)
  }
}
