import HardwareModel
import HostMemory
import MachineEvents
import PagingUnits
import Testing
import VirtualMachine

@Suite("Control registers and emulated accesses")
struct ControlTests {
  private func isAccepted(_ outcome: ControlOutcome) -> Bool { outcome == .accepted }

  @Test("a state that no sequence of instructions reaches is refused and changes nothing")
  func impossibleStates() throws {
    let bench = try Bench()
    let before = bench.machine[registersOf: 0]
    var states: [ControlRegisters] = []
    var state = before
    state.cr0 = 0x8000_0010  // PG without PE
    states.append(state)
    state.cr0 = 0x2000_0011  // NW without CD
    states.append(state)
    state.cr0 = 1 << 32 | 0x11
    states.append(state)
    state = before
    state.cr0 = 0x8000_0011
    state.efer = 0x100  // long mode without PAE
    states.append(state)
    state = before
    state.cr4 = 1 << 17  // PCIDE outside long mode
    states.append(state)
    state = before
    state.cr4 = 1 << 19
    states.append(state)
    state = before
    state.efer = 2
    states.append(state)
    state = before
    state.cr3 = 1 << 46
    states.append(state)
    for state in states {
      let outcome = bench.machine.replaceControls(0, with: state)
      #expect(outcome == .generalProtection)
      let after = bench.machine[registersOf: 0]
      #expect(after == before)
    }
  }

  @Test("LMA follows from LME and paging")
  func longModeActive() throws {
    let bench = try Bench()
    var state = bench.machine[registersOf: 0]
    state.efer = 0x500
    #expect(isAccepted(bench.machine.replaceControls(0, with: state)))
    #expect(bench.machine[registersOf: 0].efer == 0x100)
    state.cr0 = 0x8001_0011
    state.cr4 = 0x20
    #expect(isAccepted(bench.machine.replaceControls(0, with: state)))
    #expect(bench.machine[registersOf: 0].efer == 0x500)
  }

  @Test("PAE paging loads its four pointers, and refuses reserved bits in present ones only")
  func pointers() throws {
    let bench = try Bench()
    bench.write([0x2001, 0, 0x1E6, 0x4001], at: 0x1000)
    var state = bench.machine[registersOf: 0]
    state.cr3 = 0x1000
    state.cr4 = 0x20
    state.cr0 = 0x8000_0011
    #expect(isAccepted(bench.machine.replaceControls(0, with: state)))
    let loaded = bench.machine[registersOf: 0].pdptes
    #expect(loaded[0] == 0x2001 && loaded[2] == 0x1E6 && loaded[3] == 0x4001)
    bench.write([0x2003], at: 0x1000)
    let refused = bench.machine.writeCR3(0, 0x1000)
    #expect(refused == .generalProtection)
    #expect(bench.machine[registersOf: 0].pdptes[0] == 0x2001)
    let absent = bench.machine.writeCR3(0, 0x3FFF_F000)
    #expect(absent == .generalProtection)
  }

  @Test("an emulated access walks the guest's tables, marks them, and reaches the guest's page")
  func emulated() throws {
    let bench = try Bench()
    bench.write([0x2007], at: 0x1000)
    bench.write([0x3007], at: 0x2000)
    bench.write([0x4007], at: 0x3000)
    bench.write([0, 0x5007], at: 0x4000)
    var state = bench.machine[registersOf: 0]
    (state.cr0, state.cr3, state.cr4, state.efer) = (0x8001_0011, 0x1000, 0x20, 0x100)
    #expect(isAccepted(bench.machine.replaceControls(0, with: state)))
    let outcome = bench.machine.emulatedAccess(0, GuestVirtual(0x1008), .write, .user)
    guard case .translated(let found) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(found.guestPhysical == GuestPhysical(0x5008))
    #expect(bench.read(0x4008) == 0x5067)
    #expect(bench.read(0x1000) == 0x2027)
    #expect(bench.machine.statistic(.exits, of: 0) == 0)
    let fault = bench.machine.emulatedAccess(0, GuestVirtual(0x2000), .read, .user)
    guard case .pageFault(let code) = fault else {
      Issue.record("\(fault)")
      return
    }
    #expect(code == 4)
    let device = bench.machine.emulatedAccess(0, GuestPhysical(0x8000_0000), .read)
    guard case .device = device else {
      Issue.record("\(device)")
      return
    }
  }
}
