import HostMemory
import PageTables
import PagingUnits
import ShadowMMU
public import VirtualMachine

/// A shadow page is referenced as a root by exactly the processors that walk it or keep it for
/// later, and none of them goes on with one that is obsolete.
public enum ShadowRoots {
  /// The rule as a sentence.
  public static let rule = "a shadow root is referenced by the processors that have it"

  /// Checks every processor and every live table; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var held = [UInt32](repeating: 0, count: machine.tables.arena.rowCount + 1)
    var locals: [Bool] = Array(repeating: false, count: machine.tables.arena.rowCount + 1)
    for processor in 0..<machine.configuration.processors {
      for id in roots(of: processor, in: machine) {
        held[Int(id.number)] += 1
        if machine.tables.arena[id].state != .live {
          return Violation(
            rule, found: "processor \(processor) has table \(id.number), which is dead")
        }
      }
      if let found = problem(processor, &locals, machine) {
        return Violation(rule, found: "processor \(processor) \(found)")
      }
    }
    var number: UInt32 = 1
    while let id = machine.tables.arena.row(number) {
      number += 1
      let row = machine.tables.arena[id]
      guard row.state == .live else { continue }
      if machine.tables.shadow[id].isLocal {
        if !locals[Int(id.number)] {
          return Violation(rule, found: "local table \(id.number) is no processor's")
        }
        continue
      }
      if row.rootReferences != held[Int(id.number)] {
        return Violation(
          rule,
          found: "table \(id.number) has \(row.rootReferences) references of "
            + "\(held[Int(id.number)]) processors")
      }
      if row.role.isInvalid && row.rootReferences == 0 {
        return Violation(rule, found: "table \(id.number) is invalid and nobody's")
      }
    }
    return nil
  }

  /// The shadow pages that a processor has references to, once for each.
  private static func roots(
    of processor: Int, in machine: borrowing VirtualMachine
  ) -> [ShadowPageID] {
    machine.withShadowState(of: processor) { state in
      var all: [ShadowPageID] = []
      switch state.root {
      case .page(let id): all.append(id)
      case .tables:
        for index in 0..<4 where state.special.pages[index] != .none {
          all.append(state.special.pages[index])
        }
      case .none, .dummy, .local: break
      }
      for index in 0..<ShadowState.keptCount where state.kept[index].page != .none {
        all.append(state.kept[index].page)
      }
      return all
    }
  }

  /// What is wrong with the special root of a processor; its local pages are marked.
  private static func problem(
    _ processor: Int, _ locals: inout [Bool], _ machine: borrowing VirtualMachine
  ) -> String? {
    machine.withShadowState(of: processor) { state in
      switch state.root {
      case .local(let root):
        var page = root
        while true {
          locals[Int(page.number)] = true
          let role = machine.tables.arena[page].role
          if !machine.tables.shadow[page].isLocal { return "reaches a listed page as a local one" }
          guard role.depth > 3 else { return nil }
          guard let next = machine.tables.child(at: ShadowPlace(page, 0), machine.process.host)
          else { return nil }
          page = next
        }
      case .tables:
        guard let table = state.special.pae else { return "has no PAE root" }
        for index in 0..<4 {
          let word = machine.tables.memory.entry(at: table.address + UInt64(index) * 8)
          let page = state.special.pages[index]
          let meant = page == .none ? nil : machine.tables.arena[page].frame
          let target = machine.tables.encoding.frame(of: SPTE(raw: word))
          let found = word & 1 == 1 ? target : nil
          if found != meant { return "has PDPTE \(index) lead elsewhere than to its page" }
        }
        return nil
      case .none, .dummy, .page: return nil
      }
    }
  }
}
